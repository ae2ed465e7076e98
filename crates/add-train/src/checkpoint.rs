//! Checkpoints: one folder each, with a manifest that is committed last.
//!
//! A checkpoint is written into `step-N.tmp/`, every file is flushed to the disk, the manifest (with the SHA-256 of
//! each file) follows, and a rename makes it `step-N/`. Whatever is interrupted before the rename was never there.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use add_weights::{Precision, WeightsFile, save};
use burn::tensor::{DType, Device};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{TrainError, state::State};

/// Version of the manifest's layout; a newer one is refused.
pub const SCHEMA: u32 = 1;

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
    /// SHA-256 of each file beside the manifest.
    pub files: BTreeMap<String, String>,
}

const MANIFEST: &str = "manifest.json";

/// Writes `state` after `step` steps into `folder/step-N` and returns that path.
///
/// # Errors
/// When the disk refuses; earlier checkpoints are untouched.
pub fn write(folder: &Path, step: u64, recipe: &str, state: &State) -> Result<PathBuf, TrainError> {
    let (target, partial) = (folder.join(name(step)), folder.join(format!("{}.tmp", name(step))));
    let written = write_into(&partial, step, recipe, state).and_then(|()| {
        if target.exists() {
            fs::remove_dir_all(&target).map_err(TrainError::io(&target))?;
        }
        fs::rename(&partial, &target).map_err(TrainError::io(&target))?;
        sync(folder)
    });
    if written.is_err() {
        // The reason of the failure matters more than whether its traces could be removed.
        let _ = fs::remove_dir_all(&partial);
    }
    written.map(|()| target)
}

fn write_into(partial: &Path, step: u64, recipe: &str, state: &State) -> Result<(), TrainError> {
    if partial.exists() {
        fs::remove_dir_all(partial).map_err(TrainError::io(partial))?;
    }
    fs::create_dir_all(partial).map_err(TrainError::io(partial))?;
    let mut files = BTreeMap::new();
    for (group, tensors) in state.groups() {
        let file = format!("{group}.safetensors");
        let path = partial.join(&file);
        let double = tensors.values().any(|t| t.values.dtype() == DType::F64);
        let precision = if double { Precision::F64 } else { Precision::F32 };
        save(&path, tensors, precision, &BTreeMap::new()).map_err(|e| damaged(&path, e))?;
        files.insert(file, sha256(&path)?);
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let numbers = state.numbers().clone();
    let manifest = Manifest { schema: SCHEMA, version, step, recipe: recipe.to_owned(), numbers, files };
    let path = partial.join(MANIFEST);
    let text = serde_json::to_vec_pretty(&manifest).expect("a manifest holds nothing that JSON cannot");
    fs::write(&path, text).map_err(TrainError::io(&path))?;
    File::open(&path).and_then(|f| f.sync_all()).map_err(TrainError::io(&path))?;
    sync(partial)
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
            state.insert(group, name, add_weights::NamedTensor { shape: info.shape.clone(), values });
        }
    }
    for (name, &value) in &manifest.numbers {
        state.set_number(name, value);
    }
    Ok((manifest, state))
}

/// Step numbers of the committed checkpoints in `folder`, ascending.
pub fn list(folder: &Path) -> Vec<u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    let mut steps: Vec<u64> = names.filter_map(|n| n.strip_prefix("step-")?.parse().ok()).collect();
    steps.sort_unstable();
    steps
}

/// Where the checkpoint of `step` lies in `folder`.
pub fn path_of(folder: &Path, step: u64) -> PathBuf {
    folder.join(name(step))
}

/// Removes all but the newest `keep` checkpoints.
///
/// # Errors
/// When the disk refuses.
pub fn retain(folder: &Path, keep: usize) -> Result<(), TrainError> {
    let steps = list(folder);
    for &step in &steps[..steps.len().saturating_sub(keep)] {
        let path = path_of(folder, step);
        fs::remove_dir_all(&path).map_err(TrainError::io(&path))?;
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
    let mut file = File::open(path).map_err(TrainError::io(path))?;
    std::io::copy(&mut file, &mut hasher).map_err(TrainError::io(path))?;
    Ok(hex(&hasher.finalize()))
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn sync(folder: &Path) -> Result<(), TrainError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(TrainError::io(folder))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;

    use super::*;

    fn state() -> State {
        let mut state = State::default();
        state.set("student", "w", Tensor::from_floats([1.0, -0.1, 3.5e-30], &Device::flex()));
        state.set("heads", "u", Tensor::from_floats([2.0], &Device::flex()));
        state.set_number("optimizer_g.time", 12);
        state
    }

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), 12, "recipe", &state()).unwrap();
        let (manifest, back) = read(&path, &Device::flex()).unwrap();
        assert_eq!((manifest.step, back.number("optimizer_g.time").unwrap()), (12, 12));
        let values: Vec<f32> = back.get("student", "w").unwrap().into_data().iter().collect();
        assert_eq!(values.map_bits(), [1.0_f32, -0.1, 3.5e-30].to_vec().map_bits());
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), 1, "recipe", &state()).unwrap();
        for file in ["student.safetensors", "heads.safetensors", MANIFEST] {
            let target = path.join(file);
            let good = fs::read(&target).unwrap();
            for position in [0, good.len() / 2, good.len() - 2] {
                let mut bad = good.clone();
                bad[position] ^= 1;
                fs::write(&target, &bad).unwrap();
                let outcome = read(&path, &Device::flex());
                let harmless = file == MANIFEST && serde_json::from_slice::<serde_json::Value>(&bad).is_ok();
                assert!(outcome.is_err() || harmless, "{file} byte {position}");
            }
            fs::write(&target, &good).unwrap();
        }
        assert!(read(&path, &Device::flex()).is_ok());
    }

    #[test]
    fn the_oldest_checkpoints_go_first() {
        let folder = tempfile::tempdir().unwrap();
        for step in [5, 10, 15] {
            write(folder.path(), step, "recipe", &state()).unwrap();
        }
        retain(folder.path(), 2).unwrap();
        assert_eq!(list(folder.path()), [10, 15]);
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
