//! Distribution matching distillation: resumed anywhere it leaves the same, and what its recipe may not say is refused.

use std::{fs, path::Path};

use add_core::{read::LoadedRecipe, train::model_path};
use add_train::run::StartFrom;

use crate::runs::{from_file, go, recipe, refused, teacher, whole_and_in_parts};

const FILE: &str = "methods/emoji-dmd2.ron";

fn student(steps: u64, teacher: &Path, more: &[&str]) -> LoadedRecipe {
    let mut sets = vec![from_file(&model_path(teacher)), "objective.generator.cool_down=0".to_owned()];
    sets.extend(more.iter().map(|&set| set.to_owned()));
    recipe(FILE, steps, &sets)
}

/// The lines of a run's metrics.
fn lines(out: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn it_resumes_to_the_bit_with_heads_and_without_in_one_step_and_in_four() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    // The batch of 8 in two parts of 4.
    let heads = "objective.gan.heads=ProjectedHead(virtual_batch: 4)";
    let other = "objective.teacher=Other(backbone: Mini(prediction: V, channels: [16], layers: 1, attending_levels: 0, heads: 1, \
                 detail: 1), schedule: ScaledLinear(), weights: Random())";
    for (name, sets) in [
        ("heads", &[heads][..]),
        ("none", &["objective.gan=None", "objective.guidance=Fixed(1)"]),
        ("four", &[heads, "objective.student_timesteps=Trailing(4)"]),
        ("bf16", &[heads, "dtype=(model: BF16, teacher: BF16)"]),
        ("accumulated", &[heads, "gradient_accumulation=2", "replicas=1", "objective.updates=1"]),
        ("other", &[heads, other]),
    ] {
        let loaded = student(4, &at("teacher"), sets);
        let [whole, parts] = ["whole", "parts"].map(|part| at(&format!("{name}-{part}")));
        whole_and_in_parts(&loaded, &whole, &parts);
        for line in lines(&whole) {
            assert!(line["loss_fakes"].as_f64().is_some_and(|x| x.is_finite() && x > 0.0), "{name}: {line}");
        }
    }
}

#[test]
fn the_student_moves_on_its_turn_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    let sets = ["objective.updates=3", "objective.gan=None", "run.checkpoint_every=1", "run.keep=9"];
    go(&student(4, &at("teacher"), &sets), &at("run"), &StartFrom::Fresh);
    let turns: Vec<bool> = lines(&at("run")).iter().map(|line| line.get("loss_match").is_some()).collect();
    assert_eq!(turns, [false, false, true, false]);
    let read = |step: u64, file: &str| {
        fs::read(at("run").join(format!("checkpoints/step-{step:07}/{file}.safetensors"))).unwrap()
    };
    assert!(read(1, "student") == read(2, "student") && read(3, "student") == read(4, "student"));
    assert!(read(2, "student") != read(3, "student"));
    assert!((1..4).all(|step| read(step, "fakes") != read(step + 1, "fakes")), "it learns in every step");
}

#[test]
fn a_recipe_that_cannot_hold_is_refused_when_it_is_read() {
    for (sets, said) in [
        (&["objective.updates=0"][..], "expected 1 to 160"),
        (&["objective.updates=161"], "got 161"),
        (&["objective.timesteps=(20, 1000)"], "expected (smallest, largest) below 1000, got (20, 1000)"),
        (&["objective.gan.timesteps=(500, 20)"], "got (500, 20)"),
        (&["objective.gan.blocks=[]"], "expected at least one of Mini's blocks"),
        (&["objective.gan.blocks=[\"up_blocks.9\"]"], "has no block `up_blocks.9`"),
        (&["objective.gan.weight=0"], "expected a number above 0, got 0"),
        (&["objective.gan.discriminator_weight=-1"], "expected a number above 0, got -1"),
        (&["objective.guidance=Fixed(101)"], "expected a number from 0 to 100, got 101"),
        (&["objective.backward_simulation=2"], "expected a number from 0 to 1, got 2"),
        (&["objective.student_timesteps=Trailing(1001)"], "expected at most 1000"),
        (&["objective.student_timesteps=Custom([500])"], "sampling starts from pure noise"),
        (&["objective.timestep_weights=[1, 2]"], "expected 1 numbers"),
        (&["objective.ema_half_life=0"], "expected a number above 0, got 0"),
        (&["model.weights=Random()"], "knows nothing to teach"),
        (&["model.adapter=Lora(rank: 2)"], "expected Off()"),
        (&["model.backbone=Mini(prediction: Epsilon)"], "zero terminal SNR divides by zero"),
        (&["model.backbone=Mini(guidance_embedding: 32)"], "expected no `guidance_embedding`"),
    ] {
        let refusal = refused(FILE, sets);
        assert!(refusal.contains(said), "{sets:?}: {refusal}");
    }
}
