//! Checkpoints: one folder each, with a manifest that is committed last.
//!
//! A checkpoint is written into `step-N.tmp/`, every file is flushed to the disk, the manifest (with the SHA-256 of
//! each file) and its seal (the SHA-256 of the manifest) follow, and a rename makes it `step-N/`. Whatever is
//! interrupted before the rename was never there.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use add_files::sync;
use add_weights::{Precision, WeightsFile, save_each};
use burn::tensor::{DType, Device};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::{TrainError, ranks::Gathered, state::State};

/// Version of the manifest's layout; a newer one is refused.
pub const SCHEMA: u32 = 2;

/// Largest manifest, in bytes.
const MAX_MANIFEST: u64 = 16 << 20;

/// What a checkpoint says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Layout version.
    pub schema: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// Steps done.
    pub step: u64,
    /// SHA-256 of the resolved recipe, without the fields that a resumed run may change.
    pub recipe: String,
    /// Counters of the optimisers and the data.
    pub numbers: BTreeMap<String, u64>,
    /// SHA-256 of the weights that adapters were trained beside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub frozen: BTreeMap<String, String>,
    /// SHA-256 of each file beside the manifest.
    pub files: BTreeMap<String, String>,
}

const MANIFEST: &str = "manifest.json";
/// What the folder of a later checkpoint ends in after the run went back behind it.
const ASIDE: &str = "aside";
/// The manifest's SHA-256. Without it a flipped bit could make another step or counter that reads just as well.
const SEAL: &str = "manifest.sha256";

/// Writes `state` after `step` steps into `folder/step-N` and returns that path; the file does not show how many ranks share it.
///
/// # Errors
/// When the disk refuses; earlier checkpoints are untouched.
pub(crate) fn write(
    folder: &Path,
    step: u64,
    recipe: &str,
    state: &Gathered<'_>,
) -> Result<PathBuf, TrainError> {
    let (target, partial) = (folder.join(name(step)), folder.join(format!("{}.tmp", name(step))));
    let written = write_into(&partial, step, recipe, state).and_then(|()| {
        if target.exists() {
            fs::remove_dir_all(&target).map_err(TrainError::io(&target))?;
        }
        add_files::rename(&partial, &target).map_err(TrainError::io(&target))
    });
    if written.is_err() {
        // The reason of the failure matters more than whether its traces could be removed.
        let _ = fs::remove_dir_all(&partial);
    }
    written.map(|()| target)
}

fn write_into(partial: &Path, step: u64, recipe: &str, gathered: &Gathered<'_>) -> Result<(), TrainError> {
    if partial.exists() {
        fs::remove_dir_all(partial).map_err(TrainError::io(partial))?;
    }
    fs::create_dir_all(partial).map_err(TrainError::io(partial))?;
    let mut files = BTreeMap::new();
    for (group, tensors) in gathered.groups() {
        let file = format!("{group}.safetensors");
        let path = partial.join(&file);
        let double = tensors.iter().any(|tensor| tensor.double);
        let precision = if double { Precision::F64 } else { Precision::F32 };
        let shapes: Vec<(&str, &[usize])> =
            tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
        let values = |i: usize| gathered.values(tensors[i]);
        save_each(&path, &shapes, precision, &BTreeMap::new(), values).map_err(|e| damaged(&path, e))?;
        files.insert(file, sha256(&path)?);
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let state = gathered.state();
    let (numbers, frozen) = (state.numbers().clone(), state.frozen().clone());
    let manifest =
        Manifest { schema: SCHEMA, version, step, recipe: recipe.to_owned(), numbers, frozen, files };
    let text = serde_json::to_vec_pretty(&manifest).expect("a manifest holds nothing that JSON cannot");
    let seal = hex::encode(Sha256::digest(&text));
    for (file, bytes) in [(MANIFEST, text), (SEAL, seal.into_bytes())] {
        let path = partial.join(file);
        fs::write(&path, bytes).and_then(|()| sync(&path)).map_err(TrainError::io(&path))?;
    }
    sync(partial).map_err(TrainError::io(partial))
}

/// Reads and verifies the checkpoint at `path`; tensors come to `device`.
///
/// # Errors
/// When a file is missing, damaged or foreign.
pub fn read(path: &Path, device: &Device) -> Result<(Manifest, State), TrainError> {
    let manifest_path = path.join(MANIFEST);
    let text = add_files::read(&manifest_path, MAX_MANIFEST).map_err(TrainError::io(&manifest_path))?;
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|e| damaged(&manifest_path, e))?;
    let schema = value.get("schema").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if schema != u64::from(SCHEMA) {
        let problem = format!(
            "expected schema {SCHEMA}, found {schema}: it was written by another version of the program"
        );
        return Err(damaged(&manifest_path, problem));
    }
    let seal_path = path.join(SEAL);
    let seal = add_files::read(&seal_path, 64).map_err(TrainError::io(&seal_path))?;
    let found = hex::encode(Sha256::digest(&text));
    if seal != found.as_bytes() {
        let problem = format!("damaged: it or {SEAL} was changed; its SHA-256 is {found}");
        return Err(damaged(&manifest_path, problem));
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(|e| damaged(&manifest_path, e))?;
    let mut state = State::default();
    for (file, expected) in &manifest.files {
        let Some(group) = file.strip_suffix(".safetensors").filter(|g| !g.contains(['/', '\\'])) else {
            return Err(damaged(&manifest_path, format!("`{file}` is no file of a checkpoint")));
        };
        let path = path.join(file);
        let found = sha256(&path)?;
        if found != *expected {
            return Err(damaged(&path, format!("damaged: expected SHA-256 {expected}, found {found}")));
        }
        let weights = WeightsFile::open(&path).map_err(|e| damaged(&path, e))?;
        for (name, info) in weights.tensors() {
            let dtype = if info.dtype == safetensors::Dtype::F64 { DType::F64 } else { DType::F32 };
            let values = weights.tensor(name, dtype, device).map_err(|e| damaged(&path, e))?;
            state.insert(
                group,
                &add_parameters::path::current(name),
                add_weights::NamedTensor { shape: info.shape.clone(), values },
            );
        }
    }
    for (what, digest) in &manifest.frozen {
        state.set_frozen(what, digest);
    }
    for (name, &value) in &manifest.numbers {
        state.set_number(name, value);
    }
    Ok((manifest, state))
}

/// Step numbers of the committed checkpoints in `folder`, ascending.
pub fn list(folder: &Path) -> Vec<u64> {
    numbered(folder, "")
}

/// Steps of the folders `step-N` or `step-N.extension`, ascending.
fn numbered(folder: &Path, extension: &str) -> Vec<u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let these = entries.filter(|path| path.extension().unwrap_or_default() == extension);
    let mut steps: Vec<u64> =
        these.filter_map(|path| path.file_stem()?.to_str()?.strip_prefix("step-")?.parse().ok()).collect();
    steps.sort_unstable();
    steps
}

/// Where the checkpoint of `step` lies in `folder`.
pub fn path_of(folder: &Path, step: u64) -> PathBuf {
    folder.join(name(step))
}

/// Removes all but the newest `keep` checkpoints and those whose step is a multiple of `every`, where that is not 0.
///
/// What was set aside goes as soon as the run has come to its step again: a run is a function of its recipe, so the
/// new checkpoint is what the old one was before it was given up or damaged.
///
/// # Errors
/// When the disk refuses.
pub fn retain(folder: &Path, keep: usize, every: u64) -> Result<(), TrainError> {
    let steps = list(folder);
    let old = &steps[..steps.len().saturating_sub(keep)];
    // A multiple of 0 is 0 alone, and nothing is written after no step.
    let going = old.iter().filter(|step| !step.is_multiple_of(every)).map(|&step| path_of(folder, step));
    let newest = steps.last().copied().unwrap_or(0);
    let overtaken = numbered(folder, ASIDE).into_iter().filter(|&step| step <= newest);
    for path in going.chain(overtaken.map(|step| path_of(folder, step).with_extension(ASIDE))) {
        fs::remove_dir_all(&path).map_err(TrainError::io(&path))?;
    }
    Ok(())
}

/// Readies `folder` for a run that goes on after `step` steps. What an interrupted write left is removed; later
/// checkpoints, damaged or of a continuation that was given up, are set aside as `step-N.aside`, lest the next
/// resume take one of them for the newest or retention count one of them as good.
///
/// # Errors
/// When the disk refuses.
pub fn rewind(folder: &Path, step: u64) -> Result<(), TrainError> {
    let entries = fs::read_dir(folder).map_err(TrainError::io(folder))?;
    let partial = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "tmp");
    for path in entries.flatten().map(|entry| entry.path()).filter(partial) {
        fs::remove_dir_all(&path).map_err(TrainError::io(&path))?;
    }
    for later in list(folder).into_iter().filter(|&later| later > step) {
        let path = path_of(folder, later);
        let aside = path.with_extension(ASIDE);
        if aside.exists() {
            fs::remove_dir_all(&aside).map_err(TrainError::io(&aside))?;
        }
        fs::rename(&path, &aside).map_err(TrainError::io(&path))?;
        warn!("{} is later than step {step}; set aside as {}", path.display(), aside.display());
    }
    Ok(())
}

fn name(step: u64) -> String {
    format!("step-{step:07}")
}

fn damaged(path: &Path, problem: impl std::fmt::Display) -> TrainError {
    TrainError::Checkpoint { path: path.to_path_buf(), problem: problem.to_string() }
}

fn sha256(path: &Path) -> Result<String, TrainError> {
    let mut hasher = Sha256::new();
    // A manifest may name a pipe, which has no end.
    let (mut file, _) = add_files::open(path).map_err(TrainError::io(path))?;
    io::copy(&mut file, &mut hasher).map_err(TrainError::io(path))?;
    Ok(hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;

    use super::*;
    use crate::ranks::Alone;

    fn state() -> State {
        let mut state = State::default();
        state.set("student", "w", Tensor::from_floats([1.0, -0.1, 3.5e-30], &Device::flex()));
        state.set("heads", "u", Tensor::from_floats([2.0], &Device::flex()));
        state.set_number("optimizer_g.time", 12);
        state
    }

    /// Writes it after so many steps.
    fn put(folder: &Path, step: u64) -> PathBuf {
        write(folder, step, "recipe", &Gathered::new(&state(), &Alone)).unwrap()
    }

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = put(folder.path(), 12);
        let (manifest, back) = read(&path, &Device::flex()).unwrap();
        assert_eq!((manifest.step, back.number("optimizer_g.time").unwrap()), (12, 12));
        let values: Vec<f32> = back.get("student", "w").unwrap().into_data().iter().collect();
        assert_eq!(values.map_bits(), [1.0_f32, -0.1, 3.5e-30].to_vec().map_bits());
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = put(folder.path(), 1);
        for file in ["student.safetensors", "heads.safetensors", MANIFEST, SEAL] {
            let target = path.join(file);
            let good = fs::read(&target).unwrap();
            for bit in 0..8 * good.len() {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                fs::write(&target, &bad).unwrap();
                assert!(read(&path, &Device::flex()).is_err(), "{file} bit {bit}");
            }
            fs::write(&target, &good).unwrap();
        }
        assert!(read(&path, &Device::flex()).is_ok());
    }

    #[test]
    fn the_oldest_checkpoints_go_first() {
        let folder = tempfile::tempdir().unwrap();
        for step in [5, 10, 15] {
            put(folder.path(), step);
        }
        retain(folder.path(), 2, 0).unwrap();
        assert_eq!(list(folder.path()), [10, 15]);
    }

    #[test]
    fn every_so_many_steps_a_checkpoint_stays() {
        let folder = tempfile::tempdir().unwrap();
        for step in [5, 10, 15, 20, 25, 30] {
            put(folder.path(), step);
            retain(folder.path(), 1, 10).unwrap();
        }
        assert_eq!(list(folder.path()), [10, 20, 30]);
    }

    #[test]
    fn what_was_set_aside_goes_when_its_step_is_done_again() {
        let folder = tempfile::tempdir().unwrap();
        for step in [5, 10, 15] {
            put(folder.path(), step);
        }
        rewind(folder.path(), 5).unwrap();
        let aside = |step| path_of(folder.path(), step).with_extension(ASIDE).exists();
        put(folder.path(), 10);
        retain(folder.path(), 2, 0).unwrap();
        assert_eq!((list(folder.path()), aside(10), aside(15)), (vec![5, 10], false, true));
    }

    #[test]
    fn a_newer_layout_is_refused_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = put(folder.path(), 1);
        let text = fs::read_to_string(path.join(MANIFEST)).unwrap();
        let newer = text.replace(&format!("\"schema\": {SCHEMA}"), &format!("\"schema\": {}", SCHEMA + 1));
        fs::write(path.join(SEAL), hex::encode(Sha256::digest(&newer))).unwrap();
        fs::write(path.join(MANIFEST), newer).unwrap();
        let error = read(&path, &Device::flex()).unwrap_err().to_string();
        let expected = format!("expected schema {SCHEMA}, found {}: ", SCHEMA + 1);
        assert!(error.contains(&expected) && error.contains("another version"), "{error}");
    }

    #[test]
    fn going_back_sets_later_checkpoints_aside() {
        let folder = tempfile::tempdir().unwrap();
        for step in [5, 10, 15] {
            put(folder.path(), step);
        }
        fs::create_dir(folder.path().join("step-0000020.tmp")).unwrap();
        rewind(folder.path(), 10).unwrap();
        assert_eq!(list(folder.path()), [5, 10]);
        assert!(folder.path().join("step-0000015.aside").is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn an_interrupted_write_leaves_no_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("step-0000003.tmp")).unwrap();
        assert!(list(folder.path()).is_empty());
    }

    trait Bits {
        fn map_bits(self) -> Vec<u32>;
    }

    impl Bits for Vec<f32> {
        fn map_bits(self) -> Vec<u32> {
            self.into_iter().map(f32::to_bits).collect()
        }
    }
}
