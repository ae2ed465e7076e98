//! PyTorch's own files (`.pt`, `.pth`, `.bin`, `.ckpt`): a pickle of tensors, of which tensors alone are taken.
//!
//! A pickle can run any code in PyTorch. Here nothing of it is run: `pytorch-reader` knows tensors, dictionaries, lists and
//! numbers, and whatever else a file holds is an error. The tensors are put together as safetensors in memory, so that all
//! checks of those files hold for these too.

use std::{io::Read as _, path::Path};

use pytorch_reader::{DType, PytorchReader};
use safetensors::{Dtype, tensor::TensorView};

use crate::{
    beginning::{Expected, instead},
    error::WeightsError,
    file::WeightsFile,
    pickle,
};

/// What the name of such a file ends in.
pub(crate) const ENDINGS: [&str; 4] = ["pt", "pth", "bin", "ckpt"];
/// Where training code keeps the model in a checkpoint, beside the state of its optimiser and its counters.
const MODEL_KEYS: [&str; 2] = ["state_dict.", "model_state_dict."];
/// Tensors may share their values, and views may repeat them, but not without end.
const MOST_REPEATS: u64 = 4;
/// Bytes by which a file of another kind is known.
const HEAD: u64 = 512;

/// Whether the name of the file at `path` says that it is one.
pub(crate) fn is_one(path: &Path) -> bool {
    path.extension().is_some_and(|e| ENDINGS.iter().any(|ending| e.eq_ignore_ascii_case(ending)))
}

/// Reads such a file.
///
/// # Errors
/// When it cannot be read, holds something else than tensors, or is damaged.
pub(crate) fn open(path: &Path) -> Result<WeightsFile, WeightsError> {
    let io = |source| WeightsError::Io { path: path.to_path_buf(), source };
    let failed = |reason: String| WeightsError::Pickle { path: path.to_path_buf(), reason };
    let (file, length) = add_files::open(path).map_err(io)?;
    let mut head = Vec::new();
    (&file).take(HEAD).read_to_end(&mut head).map_err(io)?;
    if let Some(what) = instead(&head, Expected::Pytorch) {
        return Err(failed(what));
    }
    pickle::check(file, &head).map_err(failed)?;
    let reader = PytorchReader::new(path).map_err(|error| failed(error.to_string()))?;
    let key = MODEL_KEYS.iter().find(|key| reader.tensors().keys().any(|name| name.starts_with(**key)));
    let model: Vec<_> = reader
        .tensors()
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(key.map_or("", |key| key))?, tensor)))
        .collect();
    let total = model.iter().map(|(_, tensor)| tensor.byte_len() as u64).sum::<u64>();
    if total > length.saturating_mul(MOST_REPEATS) {
        return Err(failed(format!("its tensors claim {total} bytes, the file has {length}")));
    }
    let mut tensors = Vec::new();
    for (name, tensor) in model {
        tensors.push((name, dtype(tensor.dtype()), tensor.shape().to_vec(), tensor.read().map_err(io)?));
    }
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view =
            TensorView::new(*dtype, shape.clone(), bytes).map_err(|error| failed(error.to_string()))?;
        Ok((*name, view))
    });
    let views = views.collect::<Result<Vec<_>, WeightsError>>()?;
    let bytes = safetensors::serialize(views, None).map_err(|error| failed(error.to_string()))?;
    WeightsFile::from_bytes(&path.to_string_lossy(), bytes)
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use burn::tensor::{DType, Device};

    use super::*;

    /// Written by PyTorch 2.15: `{"a.weight": [[0, 1, 2], [3, 4, 5]], "a.bias": [1.5, -2.0] (a view), "steps": 7}`,
    /// once as the zip file of today and once as the stream that PyTorch wrote before 1.6.
    const FILES: [&str; 2] = ["tensors.pth", "tensors_legacy.pth"];

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
    }

    #[test]
    fn files_of_both_layouts_give_their_tensors() {
        for name in FILES {
            let file = WeightsFile::open(fixture(name)).expect(name);
            assert_eq!(file.tensors().keys().collect::<Vec<_>>(), ["a.bias", "a.weight"], "{name}");
            let values = |tensor: &str| {
                let tensor = file.tensor(tensor, DType::F32, &Device::flex()).expect("there");
                tensor.into_data().iter::<f32>().collect::<Vec<_>>()
            };
            assert_eq!(values("a.weight"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
            assert_eq!(values("a.bias"), [1.5, -2.0]);
        }
    }

    /// `os.system` pickled in the place of a tensor: it is refused or passed over, and never called.
    #[test]
    fn nothing_of_a_pickle_is_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let trace = folder.path().join("trace");
        let pickle = format!("cos\nsystem\n(S'touch {}'\ntR.", trace.display());
        let path = folder.path().join("hostile.pth");
        fs::write(&path, pickle).expect("written");
        assert!(WeightsFile::open(&path).is_err());
        assert!(!trace.exists());
    }

    #[test]
    fn no_damage_makes_it_panic() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("damaged.pth");
        for name in FILES {
            let sound = fs::read(fixture(name)).expect("there");
            for at in (0..sound.len()).step_by(7) {
                fs::write(&path, &sound[..at]).expect("written");
                assert!(WeightsFile::open(&path).is_err(), "{name} cut to {at}");
                let mut flipped = sound.clone();
                flipped[at] ^= 0x15;
                fs::write(&path, flipped).expect("written");
                // What a flipped bit leaves readable may be read.
                let _ = WeightsFile::open(&path);
            }
        }
    }
}
