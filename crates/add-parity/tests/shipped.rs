//! The fixtures in `fixtures/` through the comparisons of this crate: a small part of every family, so that each
//! change is held to the reference libraries' numbers. `add parity DIR` does the same with a larger collection.

use std::path::{Path, PathBuf};

use add_parity::{Found, Outcome, ParityRow, find, run};
use burn::tensor::Device;

fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family)
}

/// Runs a family's fixtures: none may fail, `passed` tensors must be compared, and what is left out must be `skipped`.
#[track_caller]
fn check(family: &str, passed: usize, skipped: &[&str]) {
    let found = find(&folder(family)).expect("fixtures");
    let rows: Vec<(Found, ParityRow)> = found
        .iter()
        .flat_map(|found| run(found, &Device::flex()).into_iter().map(|row| (found.clone(), row)))
        .collect();
    let line =
        |(found, row): &(Found, ParityRow)| format!("\n  {}: {} {:?}", found.label, row.tensor, row.outcome);
    let failures: String = rows.iter().filter(|(_, row)| row.failure()).map(line).collect();
    assert!(failures.is_empty(), "{failures}");
    let left_out: Vec<&str> =
        rows.iter().filter(|(_, row)| row.was_skipped()).map(|(_, row)| row.tensor.as_str()).collect();
    assert_eq!(left_out, skipped);
    assert_eq!(rows.len() - left_out.len(), passed, "{}", rows.iter().map(line).collect::<String>());
}

#[test]
fn unets_equal_diffusers() {
    let inside = "c0.act.down_blocks.0.attentions.0";
    let block = format!("{inside}.transformer_blocks.0");
    check(
        "unet",
        96,
        &[
            "c0.act.conv_norm_out",
            inside,
            &format!("{inside}.norm"),
            &format!("{inside}.proj_in"),
            &format!("{block}.attn1"),
            &format!("{block}.attn2"),
            &format!("{block}.ff"),
            "c0.act.down_blocks.0.downsamplers.0",
            "c0.act.down_blocks.0.resnets.0",
        ],
    );
}

#[test]
fn autoencoders_equal_diffusers() {
    check("vae", 12, &[]);
}

#[test]
fn text_encoders_equal_transformers() {
    check("text", 6, &[]);
}

#[test]
fn towers_equal_open_clip() {
    check("openclip", 3, &[]);
}

#[test]
fn tokens_are_those_of_transformers() {
    check("tokens", 5, &[]);
}

#[test]
fn vision_transformers_equal_hub_timm_and_transformers() {
    check("vit", 21, &[]);
}

#[test]
fn mobilenet_v2_equals_torchvision() {
    check("mobilenet_v2", 6, &[]);
}

#[test]
fn losses_equal_the_paper_in_pytorch() {
    check("losses", 818, &[]);
}

#[test]
fn metrics_equal_their_libraries() {
    check("metrics", 73, &[]);
}

/// The runs in other precisions are left out, and biases that nothing but rounding moves.
#[test]
fn training_runs_equal_pytorch() {
    let losses =
        ["adv_g", "d_fake", "d_real", "distill", "gradnorm_d", "gradnorm_g", "loss_d", "loss_g", "r1"];
    let of_runs = ["f32", "f32emb"].iter().flat_map(|run| losses.map(|loss| format!("{run}.loss.{loss}")));
    let biases = [("final.heads.", "0"), ("final.heads.", "4"), ("step0.d.after.", "0")];
    let of_heads = biases.iter().flat_map(|(prefix, head)| {
        ["main.0.0.bias", "main.1.fn.0.bias"].map(|bias| format!("{prefix}{head}.{bias}"))
    });
    let each: Vec<String> = of_runs.chain(of_heads).collect();
    let both: Vec<&str> = each.iter().chain(&each).map(String::as_str).collect();
    check("train", 462, &both);
}

/// Trajectories that no plugin has are left out with their reasons.
#[test]
fn samplers_equal_diffusers() {
    let found = find(&folder("sched")).expect("fixtures");
    let rows: Vec<ParityRow> = found.iter().flat_map(|found| run(found, &Device::flex())).collect();
    let mut left_out = Vec::new();
    for row in &rows {
        if let Outcome::Skipped(reason) = &row.outcome {
            let trajectory = row.tensor.split('.').next().unwrap_or_default();
            if !left_out.contains(&(trajectory, reason.as_str())) {
                left_out.push((trajectory, reason.as_str()));
            }
        }
    }
    let levels = "the plugin does not show its levels; the states depend on them";
    let want = [
        (
            "ddim_eps_alpha_to_one_linspace_10",
            "it steps to t - T / n, which is not the next of its own timesteps",
        ),
        ("dpm_2m_25", "algorithm_type is \"dpmsolver\"; the plugin has \"dpmsolver++\" only"),
        ("dpm_2m_8", "algorithm_type is \"dpmsolver\"; the plugin has \"dpmsolver++\" only"),
        ("dpmpp_2m_karras_25", levels),
        ("dpmpp_2m_karras_8", levels),
        ("euler_karras_10", "use_karras_sigmas is true; the plugin has false only"),
        ("tables", "no plugin has linear betas"),
    ];
    assert_eq!(left_out, want);
    let failures: Vec<&ParityRow> = rows.iter().filter(|row| row.failure()).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(rows.iter().filter(|row| row.passed()).count(), 217);
}
