//! What a model takes with it when it leaves for diffusers. The weights themselves need gigabytes; their names are
//! tested beside the key maps.

use add_core::{export::scheduler, read::parse, recipe::Recipe};
use add_plugin::NoiseSchedule;
use serde_json::json;

use crate::binary::refuses;

fn recipe(sampler: &str, schedule: &str) -> Recipe {
    let text = format!(
        r#"(
            name: "x",
            data: Off(size: 512),
            codec: KlVae(weights: "vae", scaling_factor: 0.18215),
            text: ClipL(weights: "text"),
            model: (backbone: Sd15(prediction: V), schedule: {schedule}, weights: Random()),
            objective: Off(),
            sampling: (sampler: {sampler}, steps: 4),
        )"#
    );
    parse(&text, "x.ron").expect("a recipe")
}

#[test]
fn a_student_leaves_with_its_timesteps_schedule_and_prediction() {
    let recipe = recipe("AddRefine()", "ZeroTerminalSnr(inner: ScaledLinear())");
    let (class, config) = scheduler(&recipe, &[249, 499, 749, 999]).expect("a scheduler");
    assert_eq!(class, "LCMScheduler");
    for (field, value) in [
        ("add_student_timesteps", json!([249, 499, 749, 999])),
        ("original_inference_steps", json!(4)),
        ("rescale_betas_zero_snr", json!(true)),
        ("beta_schedule", json!("scaled_linear")),
        ("prediction_type", json!("v_prediction")),
    ] {
        assert_eq!(config[field], value, "{field}");
    }
    // Unevenly spread ones are named when the pipeline is called.
    let (_, config) = scheduler(&recipe, &[699, 799, 899, 999]).expect("a scheduler");
    assert_eq!(config["original_inference_steps"], json!(1000));
}

#[test]
fn a_single_file_that_no_client_could_sample_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let out = out.to_str().expect("text");
    for (set, words) in [
        ("model.backbone=Sd15(prediction: X0)", ["predicts X0", "--format diffusers"]),
        ("model.schedule=Cosine()", ["not on Cosine", "--format diffusers"]),
        ("model.schedule=ScaledLinear(beta_end: 0.02)", ["not on ScaledLinear", "--format diffusers"]),
    ] {
        refuses(&["export", "configs/sd15.ron", out, "--format", "ldm", "--set", set], 2, &words);
    }
}

#[test]
fn the_consistency_scheduler_says_the_offset_that_pipelines_ask_for() {
    let recipe = recipe("AddRefine()", "ScaledLinear()");
    let (_, config) = scheduler(&recipe, &[999]).expect("a scheduler");
    assert_eq!(config["steps_offset"], json!(1));
}

#[test]
fn a_schedule_without_a_name_there_is_its_betas() {
    let recipe = recipe("Ddim()", "Cosine()");
    let (_, config) = scheduler(&recipe, &[]).expect("a scheduler");
    let betas = config["trained_betas"].as_array().expect("a table");
    let mut alpha_bar = 1.0;
    let alpha_bars = betas.iter().map(|beta| {
        alpha_bar *= 1.0 - beta.as_f64().expect("a number");
        alpha_bar
    });
    let ours = recipe.model.schedule.tables();
    let theirs = NoiseSchedule::from_alphas_cumprod(&alpha_bars.collect::<Vec<_>>());
    assert!((0..ours.steps()).map(|t| t as f64).all(|t| (ours.alpha(t) - theirs.alpha(t)).abs() < 1e-9));
}
