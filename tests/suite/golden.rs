//! The golden checkpoint: one that an earlier build wrote, which every later one must read.
//!
//! How it was made stands beside it, in `tests/fixtures/checkpoint/README.md`. Reading is exact everywhere. What a
//! further step gives is not: kernels differ between AVX2 and AVX-512 in the order of their sums, so a run that goes on
//! is held to the recorded figures by a tolerance.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use add_core::train::model_path;
use add_train::checkpoint;
use burn::tensor::Device;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{binary::add, root};

/// The checkpoint's folder, and its name in a run.
pub(crate) const STEP: &str = "step-0000002";

fn folder() -> PathBuf {
    root().join("tests/fixtures/checkpoint")
}

pub(crate) fn checkpoint() -> PathBuf {
    folder().join(STEP)
}

pub(crate) fn recipe() -> String {
    folder().join("recipe.ron").display().to_string()
}

/// Copies a folder of files.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// What was recorded when the checkpoint was made.
fn recorded() -> Value {
    serde_json::from_str(&fs::read_to_string(folder().join("recorded.json")).unwrap()).unwrap()
}

/// A run folder that holds the checkpoint and nothing else.
fn run_folder() -> tempfile::TempDir {
    let run = tempfile::tempdir().unwrap();
    copy(&checkpoint(), &run.path().join("checkpoints").join(STEP));
    run
}

/// `add train` goes on from the checkpoint to `steps`.
fn resumed(run: &Path, steps: u64) {
    let (out, steps) = (run.display().to_string(), format!("run.steps={steps}"));
    let output = add(&["train", &recipe(), "--out", &out, "--resume", "latest", "--set", &steps]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// The names, shapes and bits of each group, as one hash.
fn hashes(state: &add_train::state::State) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (group, tensors) in state.groups() {
        let mut hasher = Sha256::new();
        for (name, tensor) in tensors {
            hasher.update(format!("{name} {:?}\n", tensor.shape));
            for value in tensor.values.clone().into_data().iter::<f64>() {
                hasher.update(value.to_le_bytes());
            }
        }
        all.insert(group.clone(), format!("{:x}", hasher.finalize()));
    }
    all
}

#[test]
fn a_checkpoint_of_an_earlier_build_is_read_to_the_bit() {
    let (manifest, state) = checkpoint::read(&checkpoint(), &Device::flex()).unwrap();
    assert_eq!((manifest.schema, manifest.step), (checkpoint::SCHEMA, 2));
    assert_eq!(serde_json::to_value(hashes(&state)).unwrap(), recorded()["groups"]);
    assert_eq!(serde_json::to_value(state.numbers()).unwrap(), recorded()["numbers"]);
}

#[test]
fn a_run_takes_up_an_earlier_builds_checkpoint_to_the_bit() {
    let run = run_folder();
    // No step is left to do: what is exported is what was read.
    resumed(run.path(), 2);
    let model = fs::read(model_path(run.path())).unwrap();
    assert_eq!(sha256(model), recorded()["model"], "the exported model");
}

#[test]
fn a_run_goes_on_from_an_earlier_builds_checkpoint() {
    let run = run_folder();
    resumed(run.path(), 4);
    let lines = fs::read_to_string(run.path().join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let recorded = recorded();
    let expected = recorded["metrics"].as_array().unwrap();
    assert_eq!((lines.len(), expected.len()), (2, 2));
    for (line, expected) in lines.iter().zip(expected) {
        for (name, expected) in expected.as_object().unwrap() {
            for (got, expected) in crate::pairs(numbers(&line[name]), numbers(expected)) {
                // A share of signs moves by a whole logit of a thousand.
                let grain = if name.starts_with("sign_") { 5e-3 } else { 1e-5 };
                let close = (got - expected).abs() <= 1e-3 * expected.abs() + grain;
                assert!(close, "{name}: expected {expected}, found {got}");
            }
        }
    }
    let (manifest, state) =
        checkpoint::read(&run.path().join("checkpoints/step-0000004"), &Device::flex()).unwrap();
    assert_eq!((manifest.step, state.number("optimizer_g.time").unwrap()), (4, 4));
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().filter_map(Value::as_f64).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

#[test]
fn a_run_keeps_a_log_over_its_processes() {
    let run = run_folder();
    resumed(run.path(), 3);
    resumed(run.path(), 4);
    let log = fs::read_to_string(run.path().join("log.txt")).unwrap();
    let count = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!((count("resumed from"), count("training"), count("finished")), (2, 2, 2), "{log}");
    assert!(count("step 3/3") == 1 && count("step 4/4") == 1, "{log}");
    assert!(log.lines().all(|line| line.starts_with("20") && line.as_bytes()[10] == b'T'), "{log}");
}
