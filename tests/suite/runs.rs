//! Tiny runs in-process.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use add_core::{
    error::CoreError,
    read::{self, LoadedRecipe},
    train::{model_path, train},
};
use add_train::{
    report::StepReport,
    run::{Ending, Observer, StartFrom},
};

use crate::{pairs, root};

const TINY: &str =
    "model.backbone=Mini(channels: [16, 32], layers: 1, attending_levels: 1, heads: 2, detail: 4)";

/// A shipped recipe made tiny, for `steps` steps.
pub(super) fn recipe(file: &str, steps: u64, more: &[String]) -> LoadedRecipe {
    let mut sets: Vec<String> =
        [TINY, "batch=8", "preview.prompts=[]", "run.log_every=1", "run.checkpoint_every=2"]
            .map(str::to_owned)
            .to_vec();
    sets.push(format!("run.steps={steps}"));
    sets.extend_from_slice(more);
    read::read(&root().join("configs").join(file), &sets).unwrap()
}

pub(super) fn teacher(steps: u64) -> LoadedRecipe {
    recipe("pretrain/emoji-teacher.ron", steps, &["objective.optimizer.cool_down=0".to_owned()])
}

pub(super) fn student(steps: u64, teacher: &Path) -> LoadedRecipe {
    student_with(steps, teacher, &[])
}

pub(super) fn student_with(steps: u64, teacher: &Path, more: &[&str]) -> LoadedRecipe {
    let mut sets = vec![from_file(&model_path(teacher)), "objective.generator.cool_down=0".to_owned()];
    sets.extend(more.iter().map(|&set| set.to_owned()));
    recipe("emoji.ron", steps, &sets)
}

pub(super) fn from_file(path: &Path) -> String {
    format!("model.weights=File(\"{}\")", path.display())
}

/// What is said of a shipped recipe with these changes.
pub(super) fn refused(file: &str, sets: &[&str]) -> String {
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    match read::read(&root().join("configs").join(file), &sets) {
        Ok(_) => panic!("{sets:?} is accepted"),
        Err(CoreError::Invalid { problems, .. }) => {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
        Err(other) => panic!("{sets:?}: {other}"),
    }
}

pub(super) struct Quiet;

impl Observer for Quiet {
    fn begin(&mut self, _done: u64, _steps: u64) {}
    fn step(&mut self, _done: u64, _report: &StepReport) {}
    fn end(&mut self) {}
}

/// Asks for a stop after so many steps.
pub(super) struct StopAfter<'a>(pub(super) u64, pub(super) &'a AtomicBool);

impl Observer for StopAfter<'_> {
    fn begin(&mut self, _done: u64, _steps: u64) {}
    fn step(&mut self, done: u64, _report: &StepReport) {
        if done >= self.0 {
            self.1.store(true, Ordering::Relaxed);
        }
    }
    fn end(&mut self) {}
}

pub(super) fn go(loaded: &LoadedRecipe, out: &Path, start: &StartFrom) -> Ending {
    train(loaded, out, start, &mut Quiet, &AtomicBool::new(false)).unwrap()
}

/// The bytes that must be equal: every file of the last checkpoint, and the metrics.
fn traces(out: &Path, step: u64) -> Vec<(String, Vec<u8>)> {
    let folder = out.join(format!("checkpoints/step-{step:07}"));
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()).collect();
    files.push(out.join("metrics.jsonl"));
    files.sort();
    files
        .into_iter()
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&p).unwrap()))
        .collect()
}

pub(super) fn assert_same(a: &Path, b: &Path, step: u64) {
    let [a, b] = [a, b].map(|out| traces(out, step));
    for ((name, a), (other, b)) in pairs(a, b) {
        assert_eq!(name, other, "both must leave the same files");
        assert!(a == b, "{name} differs");
    }
}

/// Runs four steps at once and in parts, asked to stop in the middle, as a signal does: both must leave the same.
pub(super) fn whole_and_in_parts(loaded: &LoadedRecipe, whole: &Path, parts: &Path) {
    go(loaded, whole, &StartFrom::Fresh);
    let stop = AtomicBool::new(false);
    let ending = train(loaded, parts, &StartFrom::Fresh, &mut StopAfter(3, &stop), &stop).unwrap();
    assert_eq!(ending, Ending::Stopped(3));
    go(loaded, parts, &StartFrom::Auto);
    assert_same(whole, parts, 4);
}

#[test]
fn pretraining_and_distillation_resume_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(4), &at("teacher"), &StartFrom::Fresh);
    go(&teacher(2), &at("teacher-parts"), &StartFrom::Fresh);
    go(&teacher(4), &at("teacher-parts"), &StartFrom::Latest);
    assert_same(&at("teacher"), &at("teacher-parts"), 4);

    let whole = student(4, &at("teacher"));
    whole_and_in_parts(&whole, &at("whole"), &at("parts"));

    // Another seed is another run.
    let other = read::read(&whole.path, &["seed=8".to_owned()]).unwrap();
    assert_ne!(add_core::train::hash(&other.recipe), add_core::train::hash(&whole.recipe));
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    go(&teacher(4), &out, &StartFrom::Fresh);
    let damaged = out.join("checkpoints/step-0000004/denoiser.safetensors");
    let mut bytes = fs::read(&damaged).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x40;
    fs::write(&damaged, bytes).unwrap();
    // It continues from step 2 and writes step 4 again.
    assert_eq!(go(&teacher(4), &out, &StartFrom::Latest), Ending::Finished);
    fs::write(out.join("checkpoints/step-0000002/manifest.json"), "{").unwrap();
    fs::write(out.join("checkpoints/step-0000004/manifest.json"), "{").unwrap();
    let refused =
        train(&teacher(4), &out, &StartFrom::Latest, &mut Quiet, &AtomicBool::new(false)).unwrap_err();
    assert!(refused.to_string().contains("manifest.json"), "{refused}");
}

/// The heads look at two blocks of the teacher.
const CRITIC: &str =
    "objective.adversarial.features=TeacherFeatures(blocks: [\"mid_block\", \"up_blocks.0\"])";

#[test]
fn each_loss_term_can_be_off_and_each_weighting_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    let variants = [
        ("adversarial alone", "objective.distillation.lambda=0", "loss_adv", "loss_distill"),
        ("distillation alone", "objective.adversarial.weight=0", "loss_distill", "loss_adv"),
        ("sds", "objective.distillation.weighting=Sds()", "loss_distill", "none"),
        ("nfsd", "objective.distillation.weighting=Nfsd()", "loss_distill", "none"),
        ("uniform", "objective.distillation.weighting=Uniform()", "loss_distill", "none"),
        ("crops", "objective.distillation.space=Crop(size: 16)", "loss_distill", "none"),
        ("another decoder", "objective.distillation.space=PixelBy(Identity())", "loss_distill", "none"),
        ("latents", "objective.distillation.space=Latent", "loss_distill", "none"),
        ("two teacher steps", "objective.teacher.steps=2", "loss_distill", "none"),
        ("no conditioning", "objective.adversarial.image_condition=Off", "loss_adv", "none"),
        ("independent fakes", "objective.adversarial.fakes=Independent", "loss_adv", "none"),
        (
            "conditions of unit length",
            "objective.adversarial.normalize_condition=true",
            "norm_c_text",
            "none",
        ),
        ("a critic of latents", CRITIC, "loss_adv", "none"),
        ("calibrated", "objective.distillation.lambda=Balanced(ratio: 1, steps: 10)", "lambda", "none"),
    ];
    for (name, set, there, absent) in variants {
        let weights = from_file(&model_path(&at("teacher")));
        let no_picture = "objective.adversarial.image_condition=Off".to_owned();
        let more = (set == CRITIC).then_some(no_picture);
        let sets: Vec<String> = [weights, set.to_owned()].into_iter().chain(more).collect();
        let loaded = recipe("emoji.ron", 1, &sets);
        let out = at(name);
        go(&loaded, &out, &StartFrom::Fresh);
        let line = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        let figures: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
        assert!(figures[there].as_f64().is_some_and(f64::is_finite), "{name}: {line}");
        assert!(figures.get(absent).is_none(), "{name}: {line}");
    }
}

/// ADD, Table 1c: the student's network begins random; teacher and text encoder are the trained model's.
#[test]
fn a_random_student_has_a_trained_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(2), &at("teacher"), &StartFrom::Fresh);
    let file = model_path(&at("teacher"));
    let model = TINY.strip_prefix("model.backbone=").unwrap().replace("Mini(", "Mini(prediction: V, ");
    let other = format!(
        "objective.teacher.model=Other(backbone: {model}, schedule: ZeroTerminalSnr(inner: ScaledLinear()), weights: \
         File(\"{}\"))",
        file.display()
    );
    let text = format!("model.text_weights=\"{}\"", file.display());
    let random = "model.weights=Random()".to_owned();
    let refused = read::read(&root().join("configs/emoji.ron"), std::slice::from_ref(&random)).unwrap_err();
    let said = format!("{:?}", miette::Report::new(refused));
    assert!(said.contains("Initial()") && said.contains("model.text_weights"), "{said}");

    go(&recipe("emoji.ron", 1, &[random, other, text]), &at("student"), &StartFrom::Fresh);
    let values = |path: &Path, prefix: &str| -> Vec<(String, Vec<f32>)> {
        let weights = add_weights::WeightsFile::open(path).unwrap();
        let names = weights.tensors().keys().filter(|name| name.starts_with(prefix));
        names.map(|name| (name.clone(), weights.floats::<f32>(name).unwrap())).collect()
    };
    let (before, after) = (values(&file, "text."), values(&model_path(&at("student")), "text."));
    assert!(!before.is_empty() && before == after, "the text encoder is the trained model's, to the bit");
    assert_ne!(values(&file, "denoiser."), values(&model_path(&at("student")), "denoiser."));
}

/// The last line of metrics, its numbers by name.
fn figures(out: &Path) -> Vec<(String, f64)> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let numbers = |value: &serde_json::Value| match value {
        serde_json::Value::Array(list) => list.iter().filter_map(serde_json::Value::as_f64).collect(),
        other => vec![other.as_f64().unwrap()],
    };
    let entries = line.as_object().unwrap().iter();
    entries.flat_map(|(name, value)| numbers(value).into_iter().map(|x| (name.clone(), x))).collect()
}

#[test]
fn a_batch_in_parts_is_the_same_batch() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let parts = |mut loaded: LoadedRecipe, replicas: usize, accumulation: usize| {
        (loaded.recipe.batch, loaded.recipe.replicas) = (16, replicas);
        loaded.recipe.gradient_accumulation = accumulation;
        loaded
    };
    let check = |make: &dyn Fn() -> LoadedRecipe, name: &str| {
        let whole = at(&format!("{name}-1"));
        go(&parts(make(), 1, 1), &whole, &StartFrom::Fresh);
        let cut = at(&format!("{name}-2"));
        go(&parts(make(), 2, 1), &cut, &StartFrom::Fresh);
        let accumulated = at(&format!("{name}-accumulated"));
        go(&parts(make(), 1, 2), &accumulated, &StartFrom::Fresh);
        assert_same(&cut, &accumulated, 3);
        for ((figure, a), (other, b)) in pairs(figures(&whole), figures(&cut)) {
            assert_eq!(figure, other, "{name}");
            assert!((a - b).abs() < 1e-3 * a.abs() + 1e-5, "{name} {figure}: {a} and {b}");
        }
    };
    check(&|| teacher(3), "teacher");
    // Parts of eight are the groups over which the heads normalise.
    check(&|| student(3, &at("teacher-1")), "student");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| go(&student(2, &at("teacher")), &at(&threads.to_string()), &StartFrom::Fresh));
    }
    assert_same(&at("1"), &at("3"), 2);
}
