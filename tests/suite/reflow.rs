//! Rectified flow across its stages: resumed anywhere it leaves the same, and what its recipe may not say is refused.

use std::{fs, path::Path, sync::atomic::AtomicBool};

use add_core::{
    model_file::ModelCard,
    read::LoadedRecipe,
    train::{model_path, train},
};
use add_train::run::{Ending, StartFrom};

use crate::runs::{StopAfter, assert_same, from_file, go, recipe, refused, teacher};

const FILE: &str = "methods/emoji-reflow.ron";

/// Three steps of reflow and three of the distillation, with two batches of pairs used twice each.
fn reflow(teacher: &Path, more: &[&str]) -> LoadedRecipe {
    let mut sets = vec![
        from_file(&model_path(teacher)),
        "objective.reflow=(steps: 3, sampling_steps: 2, guidance: 3.0)".to_owned(),
        "objective.distillation=(steps: 3, sampling_steps: 2)".to_owned(),
        "objective.pool=(batches: 2, uses: 2)".to_owned(),
        "objective.optimizer.warm_up=1".to_owned(),
    ];
    sets.extend(more.iter().map(|&set| set.to_owned()));
    recipe(FILE, 6, &sets)
}

#[test]
fn it_resumes_to_the_bit_within_stages_and_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let teacher_folder = folder.path().join("teacher");
    go(&teacher(2), &teacher_folder, &StartFrom::Fresh);
    for (name, sets, stops) in [
        // Between two uses of the same pairs, between the stages, and within the last.
        ("plain", &[][..], &[2, 3, 5][..]),
        ("latents", &["objective.perceptual=None", "objective.distance=Huber(0.01)", "replicas=1"], &[1]),
        ("accumulated", &["gradient_accumulation=2", "objective.pool=(batches: 1, uses: 1)"], &[4]),
        ("bf16", &["dtype=(model: BF16, teacher: BF16)"], &[5]),
    ] {
        let loaded = reflow(&teacher_folder, &[sets, &["run.keep=9", "run.checkpoint_every=1"]].concat());
        let whole = folder.path().join(format!("{name}-whole"));
        go(&loaded, &whole, &StartFrom::Fresh);
        for &after in stops {
            let parts = folder.path().join(format!("{name}-{after}"));
            let stop = AtomicBool::new(false);
            let ending = train(&loaded, &parts, &StartFrom::Fresh, &mut StopAfter(after, &stop), &stop);
            assert_eq!(ending.unwrap(), Ending::Stopped(after));
            assert_eq!(go(&loaded, &parts, &StartFrom::Auto), Ending::Finished);
            assert_same(&whole, &parts, 6);
        }
    }
}

#[test]
fn the_last_stage_leaves_a_student_of_one_step_and_a_run_without_it_one_of_all_timesteps() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    let timesteps = |out: &Path| ModelCard::of(&model_path(out)).unwrap().student_timesteps();
    go(&reflow(&at("teacher"), &[]), &at("one-step"), &StartFrom::Fresh);
    assert_eq!(timesteps(&at("one-step")), [999]);
    let sets = ["objective.distillation=None", "objective.perceptual=None", "objective.reflows=2"];
    go(&reflow(&at("teacher"), &sets), &at("straight"), &StartFrom::Fresh);
    assert_eq!(timesteps(&at("straight")), [0; 0]);
    // Pairs are new in the first two steps of each round, and of each stage.
    let lines = fs::read_to_string(at("one-step").join("metrics.jsonl")).unwrap();
    let new: Vec<bool> = lines.lines().map(|line| line.contains("\"curvature\"")).collect();
    assert_eq!(new, [true, true, false, true, true, false]);
}

#[test]
fn a_recipe_that_cannot_hold_is_refused_when_it_is_read() {
    for (sets, said) in [
        (&["run.steps=1"][..], "the steps of all stages"),
        (&["objective.reflows=0", "objective.distillation=None"], "with neither nothing is learnt"),
        (&["objective.reflows=101"], "expected at most 100, got 101"),
        (&["objective.reflow.steps=0"], "expected a positive number, got 0"),
        (&["objective.reflow.sampling_steps=0"], "expected a positive number, got 0"),
        (&["objective.reflow.guidance=101"], "expected a number from 0 to 100, got 101"),
        (&["objective.pool.batches=0"], "expected a positive number, got 0"),
        (&["objective.pool.uses=0"], "expected a positive number, got 0"),
        (&["objective.distance=Huber(0)"], "expected a number above 0, got 0"),
        (&["objective.perceptual.weight=0"], "expected a number above 0, got 0"),
        (&["objective.distillation=None"], "pictures are compared in the `distillation` alone"),
        (&["objective.sampler=Ddim(eta: 1.0)"], "expected a sampler without fresh noise"),
        (&["objective.sampler=AddRefine()"], "expected a sampler without fresh noise"),
        (&["objective.sampler=Lcm()"], "expected a sampler without fresh noise"),
        (&["objective.optimizer.cool_down=10"], "expected 0: the learning rate falls to zero"),
        (&["objective.ema_half_life=0"], "expected a number above 0, got 0"),
        (&["model.weights=Random()"], "expected the weights of a trained model"),
        (&["model.adapter=Lora(rank: 2)"], "expected Off()"),
        (&["model.schedule=ScaledLinear()"], "one step starts from pure noise"),
        (&["model.backbone=Mini(prediction: Epsilon)"], "zero terminal SNR divides by zero"),
        (&["model.backbone=Mini(guidance_embedding: 32)"], "expected no `guidance_embedding`"),
    ] {
        let refusal = refused(FILE, sets);
        assert!(refusal.contains(said), "{sets:?}: {refusal}");
    }
}
