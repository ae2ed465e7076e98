//! Diffusion GANs: resumed anywhere they leave the same, and what a recipe of theirs may not say is refused.

use std::{fs, path::Path};

use add_core::{model_file::ModelCard, read::LoadedRecipe, train::model_path};
use add_train::run::StartFrom;

use crate::runs::{from_file, go, recipe, refused, teacher, whole_and_in_parts};

const FILE: &str = "methods/emoji-diffusion-gan.ron";

fn student(steps: u64, teacher: &Path, more: &[&str]) -> LoadedRecipe {
    let mut sets = vec![
        from_file(&model_path(teacher)),
        "objective.generator.cool_down=0".to_owned(),
        // The batch of 8 in two parts of 4, and the blocks of the tiny backbone.
        "objective.discriminator.heads=ProjectedHead(virtual_batch: 4)".to_owned(),
        "objective.discriminator.blocks=[\"mid_block\", \"up_blocks.0\"]".to_owned(),
    ];
    sets.extend(more.iter().map(|&set| set.to_owned()));
    recipe(FILE, steps, &sets)
}

#[test]
fn it_resumes_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    for (name, sets) in [
        ("plain", &[][..]),
        (
            "alone",
            &[
                "objective.reconstruction=0",
                "objective.student_timesteps=Trailing(1)",
                "objective.timestep_weights=[]",
            ],
        ),
        ("bf16", &["dtype=(model: BF16)"]),
        ("accumulated", &["gradient_accumulation=2", "replicas=1"]),
    ] {
        let loaded = student(4, &at("teacher"), sets);
        let [whole, parts] = ["whole", "parts"].map(|part| at(&format!("{name}-{part}")));
        whole_and_in_parts(&loaded, &whole, &parts);
        let lines = fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
        let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        for figure in ["loss_adv", "loss_d", "grad_norm_g", "grad_norm_d"] {
            assert!(last[figure].as_f64().is_some_and(|x| x.is_finite() && x > 0.0), "{name}: {last}");
        }
    }
    let card = ModelCard::of(&model_path(&at("plain-whole"))).unwrap();
    assert_eq!(card.student_timesteps(), [499, 999]);
}

#[test]
fn a_recipe_that_cannot_hold_is_refused_when_it_is_read() {
    let other = "objective.discriminator.model=Other(backbone: Mini(prediction: V), schedule: ScaledLinear(), weights: Random())";
    for (sets, said) in [
        (&["objective.reconstruction=-1"][..], "expected a number from 0 to"),
        (&["objective.discriminator.blocks=[]"], "expected at least one of Mini's blocks"),
        (&["objective.discriminator.blocks=[\"up_blocks.9\"]"], "has no block `up_blocks.9`"),
        (&["objective.discriminator.optimizer.lr=0"], "expected a number above 0, got 0"),
        (&["objective.timestep_weights=[1, 2, 3]"], "expected 2 numbers"),
        (&["objective.student_timesteps=Custom([500, 100])"], "expected ascending timesteps"),
        (&["objective.ema_half_life=0"], "expected a number above 0, got 0"),
        (&[other], "share their levels of noise"),
        (&["model.weights=Random()"], "knows nothing to teach"),
        (&["model.adapter=Lora(rank: 2)"], "expected Off()"),
        (&["model.backbone=Mini(prediction: Epsilon)"], "zero terminal SNR divides by zero"),
        (&["model.backbone=Mini(guidance_embedding: 32)"], "expected no `guidance_embedding`"),
    ] {
        let refusal = refused(FILE, sets);
        assert!(refusal.contains(said), "{sets:?}: {refusal}");
    }
}
