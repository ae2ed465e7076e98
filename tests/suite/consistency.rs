//! Latent consistency distillation: resumed anywhere it leaves the same, and what its recipe may not say is refused.

use std::{fs, path::Path};

use add_core::{
    model_file::ModelCard,
    read::{LoadedRecipe, read},
    train::model_path,
};
use add_train::run::StartFrom;

use crate::runs::{from_file, go, recipe, refused, teacher, whole_and_in_parts};

const FILE: &str = "methods/emoji-consistency.ron";

/// A tiny backbone that is told its guidance scale.
const TOLD: &str = "model.backbone=Mini(channels: [16, 32], layers: 1, attending_levels: 1, heads: 2, detail: 4, \
                    guidance_embedding: 16)";

fn student(steps: u64, teacher: &Path, more: &[&str]) -> LoadedRecipe {
    let mut sets = vec![from_file(&model_path(teacher)), "objective.optimizer.cool_down=0".to_owned()];
    sets.extend(more.iter().map(|&set| set.to_owned()));
    recipe(FILE, steps, &sets)
}

#[test]
fn it_resumes_to_the_bit_whatever_the_target_and_the_guidance_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    let told =
        read(&teacher(1).path, &["run.steps=1".to_owned(), TOLD.to_owned(), "batch=8".to_owned()]).unwrap();
    go(&told, &at("told"), &StartFrom::Fresh);
    for (name, teacher, sets) in [
        ("plain", "teacher", &[][..]),
        ("range", "told", &[TOLD, "objective.guidance=Uniform(3, 15)", "evaluation.rows=[]"]),
        ("itself", "teacher", &["objective.target=Student", "objective.distance=SquaredL2()"]),
        ("adapters", "teacher", &["objective.target=Student", "model.adapter=Lora(rank: 2)"]),
        ("bf16", "teacher", &["dtype=(model: BF16, teacher: BF16)", "objective.caption_dropout=0.5"]),
        ("accumulated", "teacher", &["gradient_accumulation=2", "objective.ema_home=Host"]),
    ] {
        let loaded = student(4, &at(teacher), sets);
        let [whole, parts] = ["whole", "parts"].map(|part| at(&format!("{name}-{part}")));
        whole_and_in_parts(&loaded, &whole, &parts);
        let lines = fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
        let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        for figure in ["loss", "gap", "contrast_real", "contrast_student", "grad_norm"] {
            assert!(last[figure].as_f64().is_some_and(|x| x.is_finite() && x > 0.0), "{name}: {last}");
        }
    }
}

#[test]
fn the_student_says_which_timesteps_it_knows() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    go(&student(1, &at("teacher"), &["objective.skip=250"]), &at("student"), &StartFrom::Fresh);
    let card = ModelCard::of(&model_path(&at("student"))).unwrap();
    assert_eq!(card.student_timesteps(), [249, 499, 749, 999]);
}

#[test]
fn a_recipe_that_cannot_hold_is_refused_when_it_is_read() {
    let told = "model.backbone=Mini(guidance_embedding: 32)";
    let other = |fields: &str| format!("objective.teacher=Other(backbone: {fields}, weights: Random())");
    let schedule = "schedule: ZeroTerminalSnr(inner: ScaledLinear())";
    for (sets, said) in [
        (&["objective.guidance=Uniform(3, 15)"][..], "is not told its guidance scale"),
        (&[told], "before the distillation the model's guidance embedding means nothing"),
        (&["objective.skip=0"], "expected a positive number, got 0"),
        (&["objective.skip=1001"], "expected at most 1000, got 1001"),
        (&["objective.distance=Huber(0)"], "expected a number above 0, got 0"),
        (&["objective.timestep_scaling=-1"], "expected a number above 0, got -1"),
        (&["objective.caption_dropout=2"], "expected a number from 0 to 1, got 2"),
        (&["objective.guidance=Fixed(101)"], "expected a number from 0 to 100, got 101"),
        (&["model.adapter=Lora(rank: 2)"], "expected Student"),
        (&["model.weights=Random()"], "knows nothing to teach"),
        (&["model.backbone=Mini(prediction: Epsilon)"], "zero terminal SNR divides by zero"),
        (&[&other("Mini(), schedule: ScaledLinear()")], "share their trajectories"),
        (&[&other(&format!("Mini(guidance_embedding: 32), {schedule}"))], "expected no `guidance_embedding`"),
    ] {
        let refusal = refused(FILE, sets);
        assert!(refusal.contains(said), "{sets:?}: {refusal}");
    }
}
