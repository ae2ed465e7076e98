//! CFG-aware step distillation: resumed anywhere it leaves the same, and what its recipe may not say is refused.

use std::{fs, path::Path, sync::atomic::AtomicBool};

use add_core::{
    model_file::ModelCard,
    read::LoadedRecipe,
    train::{model_path, train},
};
use add_train::run::{Ending, StartFrom};

use crate::runs::{StopAfter, assert_same, from_file, go, recipe, refused, teacher};

const FILE: &str = "methods/emoji-cfg-aware.ron";

/// Three steps each for students of 4 and of 2 sampling steps; every second step is guided, on average.
fn distilled(teacher: &Path, more: &[&str]) -> LoadedRecipe {
    let mut sets = vec![
        from_file(&model_path(teacher)),
        "objective.halving=(from: 8, to: 2, steps: 3)".to_owned(),
        "objective.cfg_probability=0.5".to_owned(),
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
        ("plain", &[][..], &[2, 3, 5][..]),
        ("guided", &["objective.cfg_probability=1", "objective.original=0"], &[4]),
        ("accumulated", &["gradient_accumulation=2", "objective.cfg_probability=0"], &[1]),
        ("bf16", &["dtype=(model: BF16, teacher: BF16)"], &[5]),
    ] {
        let loaded = distilled(&teacher_folder, &[sets, &["run.keep=9", "run.checkpoint_every=1"]].concat());
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
        let guided: Vec<bool> = fs::read_to_string(whole.join("metrics.jsonl"))
            .unwrap()
            .lines()
            .map(|line| line.contains("\"loss_guided\""))
            .collect();
        match name {
            "guided" => assert!(guided.iter().all(|guided| *guided)),
            "accumulated" => assert!(!guided.iter().any(|guided| *guided)),
            _ => assert!(guided.contains(&true) && guided.contains(&false), "{guided:?}"),
        }
        let card = ModelCard::of(&model_path(&whole)).unwrap();
        assert_eq!(card.student_timesteps(), [499, 999]);
    }
}

#[test]
fn a_recipe_that_cannot_hold_is_refused_when_it_is_read() {
    for (sets, said) in [
        (&["run.steps=1"][..], "the steps of all stages"),
        (&["objective.halving.from=12"], "another power of two, got 12"),
        (&["objective.halving.to=0"], "expected a positive number, got 0"),
        (&["objective.halving.steps=0"], "expected a positive number, got 0"),
        (&["objective.cfg_probability=1.5"], "expected a number from 0 to 1, got 1.5"),
        (&["objective.guidance=Uniform(9, 2)"], "expected (smallest, largest)"),
        (&["objective.original=-1"], "expected a number from 0 to"),
        (&["objective.optimizer.cool_down=10"], "expected 0: the learning rate falls to zero"),
        (&["objective.ema_half_life=0"], "expected a number above 0, got 0"),
        (&["model.weights=Random()"], "expected the weights of a trained model"),
        (&["model.adapter=Lora(rank: 2)"], "expected Off()"),
        (&["model.backbone=Mini(prediction: Epsilon)"], "zero terminal SNR divides by zero"),
        (&["model.backbone=Mini(guidance_embedding: 32)"], "expected no `guidance_embedding`"),
    ] {
        let refusal = refused(FILE, sets);
        assert!(refusal.contains(said), "{sets:?}: {refusal}");
    }
}
