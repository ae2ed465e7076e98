//! Progressive distillation across its stages: resumed anywhere it leaves the same, and each stage hands its student on.

use std::{collections::BTreeMap, fs, path::Path, sync::atomic::AtomicBool};

use add_core::{
    model_file::ModelCard,
    read::{LoadedRecipe, read},
    train::{model_path, train},
};
use add_plugin::{NoiseSchedule, SamplerContext, Start as From};
use add_train::run::{Ending, StartFrom};
use add_weights::WeightsFile;
use burn::tensor::{DType, Device, Tensor};

use crate::{
    root,
    runs::{Quiet, StopAfter, assert_same, from_file, go, recipe, teacher},
};

/// One step for the guidance and two for each of the halvings to 2 and to 1 sampling steps: checkpoints of every second step
/// fall into a stage and onto the boundary.
fn progressive(teacher: &Path, more: &[&str]) -> LoadedRecipe {
    let mut sets = vec![
        from_file(&model_path(teacher)),
        "objective.guidance.steps=2".to_owned(),
        "objective.halving=(from: 4, to: 1, steps: 2)".to_owned(),
        "objective.optimizer.warm_up=1".to_owned(),
    ];
    sets.extend(more.iter().map(|&set| set.to_owned()));
    recipe("methods/emoji-progressive.ron", 6, &sets)
}

fn trained_teacher(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("teacher");
    go(&teacher(2), &path, &StartFrom::Fresh);
    path
}

#[test]
fn a_run_stopped_within_a_stage_or_between_two_goes_on_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = progressive(&trained_teacher(folder.path()), &["run.keep=9", "run.checkpoint_every=1"]);
    let whole = folder.path().join("whole");
    go(&loaded, &whole, &StartFrom::Fresh);
    // Within the first stage, at the end of the first and of the second, within the last.
    for after in [1, 2, 4, 5] {
        let parts = folder.path().join(format!("parts-{after}"));
        let stop = AtomicBool::new(false);
        let ending = train(&loaded, &parts, &StartFrom::Fresh, &mut StopAfter(after, &stop), &stop).unwrap();
        assert_eq!(ending, Ending::Stopped(after));
        assert_eq!(go(&loaded, &parts, &StartFrom::Auto), Ending::Finished);
        assert_same(&whole, &parts, 6);
    }
}

/// The values of a file by name.
fn values(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let file = WeightsFile::open(path).unwrap();
    let read = |name: &String| file.tensor(name, DType::F32, &Device::flex()).unwrap().into_data();
    file.tensors().keys().map(|name| (name.clone(), read(name).iter::<f32>().collect())).collect()
}

#[test]
fn a_stage_ends_with_its_averaged_student_as_teacher_and_as_the_next_student() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = progressive(&trained_teacher(folder.path()), &["run.keep=9", "run.checkpoint_every=1"]);
    let out = folder.path().join("run");
    go(&loaded, &out, &StartFrom::Fresh);
    let at =
        |step: u64, file: &str| values(&out.join(format!("checkpoints/step-{step:07}/{file}.safetensors")));
    for boundary in [2, 4, 6] {
        assert_eq!(at(boundary, "teacher"), at(boundary, "student"), "{boundary}");
        assert_eq!(at(boundary, "teacher"), at(boundary, "ema"), "{boundary}");
        assert!(!out.join(format!("checkpoints/step-{boundary:07}/optimizer.safetensors")).exists());
        // Within a stage the student moves and the teacher stays.
        assert_ne!(at(boundary - 1, "student"), at(boundary - 1, "teacher"), "{boundary}");
        if boundary > 2 {
            assert_eq!(at(boundary - 1, "teacher"), at(boundary - 2, "teacher"), "{boundary}");
            assert_ne!(at(boundary, "teacher"), at(boundary - 2, "teacher"), "{boundary}");
        }
    }
    let lines = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let stages: Vec<(f64, f64)> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| (line["stage"].as_f64().unwrap(), line["sampling_steps"].as_f64().unwrap()))
        .collect();
    assert_eq!(stages, [(1.0, 4.0), (1.0, 4.0), (2.0, 2.0), (2.0, 2.0), (3.0, 1.0), (3.0, 1.0)]);
}

#[test]
fn a_run_leaves_the_student_of_its_last_finished_stage() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = progressive(&trained_teacher(folder.path()), &[]);
    let timesteps = |out: &Path| ModelCard::of(&model_path(out)).unwrap().student_timesteps();
    for (after, want) in [(1, vec![]), (3, vec![]), (5, vec![499, 999])] {
        let (out, stop) = (folder.path().join(format!("after-{after}")), AtomicBool::new(false));
        train(&loaded, &out, &StartFrom::Fresh, &mut StopAfter(after, &stop), &stop).unwrap();
        assert_eq!(timesteps(&out), want, "{after}");
    }
    let out = folder.path().join("whole");
    train(&loaded, &out, &StartFrom::Fresh, &mut Quiet, &AtomicBool::new(false)).unwrap();
    assert_eq!(timesteps(&out), [999]);
}

#[test]
fn a_student_learns_in_parts_in_bf16_and_without_a_guidance_stage() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = trained_teacher(folder.path());
    for (name, sets) in [
        ("bf16", &["dtype=(model: BF16, teacher: BF16)"][..]),
        ("plain", &["objective.guidance=None", "run.steps=4", "objective.weighting=SnrPlusOne"]),
        ("accumulated", &["gradient_accumulation=2"]),
    ] {
        let loaded = progressive(&teacher, sets);
        let [whole, parts] = ["whole", "parts"].map(|part| folder.path().join(format!("{name}-{part}")));
        go(&loaded, &whole, &StartFrom::Fresh);
        let stop = AtomicBool::new(false);
        train(&loaded, &parts, &StartFrom::Fresh, &mut StopAfter(3, &stop), &stop).unwrap();
        go(&loaded, &parts, &StartFrom::Auto);
        assert_same(&whole, &parts, loaded.recipe.run.steps);
    }
}

/// A range of scales needs a network that is told its own.
#[test]
fn a_range_of_scales_is_learnt_by_a_network_that_is_told_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let told = "model.backbone=Mini(channels: [16, 32], layers: 1, attending_levels: 1, heads: 2, detail: 4, \
                guidance_embedding: 8)";
    let teacher = folder.path().join("teacher");
    go(
        &recipe(
            "pretrain/emoji-teacher.ron",
            2,
            &[told.to_owned(), "objective.optimizer.cool_down=0".to_owned()],
        ),
        &teacher,
        &StartFrom::Fresh,
    );
    let loaded = progressive(
        &teacher,
        &[told, "objective.guidance.scale=Uniform(1.0, 5.0)", "evaluation.rows=[]", "run.keep=9"],
    );
    let out = folder.path().join("run");
    go(&loaded, &out, &StartFrom::Fresh);
    let embedding = |step: u64| {
        let all = values(&out.join(format!("checkpoints/step-{step:07}/student.safetensors")));
        all.into_iter().find(|(name, _)| name.contains("cond_proj")).expect("the embedding's projection").1
    };
    assert!(embedding(2).iter().any(|x| *x != 0.0), "it begins as zero and learns");
}

/// What the first halvings give up is what a sampler of so many steps leaves out.
#[test]
fn the_students_timesteps_are_those_of_the_sampler() {
    let loaded = read(&root().join("configs/methods/emoji-progressive.ron"), &[]).unwrap();
    let sampler = &loaded.recipe.sampling.sampler;
    for total in [100, 1000] {
        let alpha_bars: Vec<f64> = (0..total).map(|t| 1.0 - (t + 1) as f64 / total as f64).collect();
        let schedule = NoiseSchedule::from_alphas_cumprod(&alpha_bars);
        for steps in [32, 16, 8, 4, 2, 1] {
            let noise = Tensor::zeros([1, 1, 1, 1], &Device::flex());
            let context = SamplerContext {
                steps,
                schedule: &schedule,
                student_timesteps: &[],
                noise,
                start: From::Noise,
                fresh_noise: &mut |_| unreachable!("DDIM without eta adds none"),
            };
            let mut visited: Vec<usize> =
                sampler.timesteps(&context).into_iter().map(|t| t as usize).collect();
            visited.reverse();
            assert_eq!(add_loss::trailing_timesteps(total, steps), visited, "{steps} of {total}");
        }
    }
}

#[test]
fn stages_that_do_not_fit_are_refused_before_any_work() {
    let path = root().join("configs/methods/emoji-progressive.ron");
    for (set, said) in [
        ("run.steps=349", "expected 350, the steps of all stages (150 + 100 + 100), got 349"),
        ("run.steps=351", "expected 350"),
        ("objective.halving.from=12", "expected `to`, 4, times 2, 4, 8 or another power of two, got 12"),
        ("objective.halving.from=4", "got 4"),
        ("objective.halving.to=3", "got 16"),
        ("objective.halving.to=0", "expected a positive number, got 0"),
        ("objective.halving.from=2048", "expected at most 1000, got 2048"),
        ("objective.halving.steps=0", "expected a positive number, got 0"),
        ("objective.halving.last_steps=0", "expected a positive number, got 0"),
        ("objective.guidance.steps=0", "expected a positive number, got 0"),
        ("objective.guidance.scale=Fixed(-1.0)", "expected a number from 0 to 100, got -1"),
        (
            "objective.guidance.scale=Uniform(1.0, 4.0)",
            "expected Fixed(…): Mini is not told its guidance scale",
        ),
        ("objective.optimizer.cool_down=10", "expected 0: the learning rate falls to zero"),
        (
            "objective.optimizer.warm_up=100",
            "expected less than 100, the steps of the shortest stage, got 100",
        ),
        ("objective.ema_half_life=0", "expected a number above 0, got 0"),
        ("model.weights=Random()", "expected the weights of a trained model"),
        ("model.adapter=Lora(rank: 2)", "expected Off()"),
        ("model.backbone=Mini(prediction: Epsilon)", "zero terminal SNR divides by zero"),
    ] {
        let error = read(&path, &[set.to_owned()]).expect_err(set);
        assert!(error.is_usage(), "{set}");
        let report = format!("{:?}", miette::Report::new(error));
        // Reports are wrapped to the width of a terminal.
        let plain = |text: &str| text.replace(|c: char| c.is_whitespace() || "│·".contains(c), "");
        assert!(plain(&report).contains(&plain(said)), "{set}: {report}");
    }
}
