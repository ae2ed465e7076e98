//! Weights into a safetensors file, so that at every moment the path holds either the old file or the whole new one.
//!
//! The header is written here and not by the `safetensors` crate because that keeps metadata in a hash map: the
//! same weights would give other bytes, and another SHA-256, at every run.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use add_parameters::Network;
use burn::tensor::{DType, Tensor};
use half::{bf16, f16};
use serde_json::json;

use crate::error::WeightsError;

/// Values with their shape.
#[derive(Debug, Clone)]
pub struct NamedTensor {
    /// Sizes of the dimensions.
    pub shape: Vec<usize>,
    /// As many values as the shape has places.
    pub values: Tensor<1>,
}

/// The number type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 10 bits of mantissa, up to 65,504.
    F16,
    /// 7 bits of mantissa, the range of F32.
    Bf16,
    /// Bit-exact for networks in single precision.
    F32,
    /// Bit-exact for networks in double precision.
    F64,
}

impl Precision {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        self.name_and_bytes().1
    }

    fn name_and_bytes(self) -> (&'static str, usize) {
        match self {
            Self::F16 => ("F16", 2),
            Self::Bf16 => ("BF16", 2),
            Self::F32 => ("F32", 4),
            Self::F64 => ("F64", 8),
        }
    }
}

/// The parameters of a network by name, for [`save`].
pub fn named_tensors(network: &dyn Network) -> BTreeMap<String, NamedTensor> {
    let mut all = BTreeMap::new();
    network.for_each_parameter(&mut |name, shape, values| {
        all.insert(name.to_owned(), NamedTensor { shape: shape.to_vec(), values });
    });
    all
}

/// Writes `tensors` as `precision` with free text `metadata`, by [`add_files::replace`]. Equal arguments give equal bytes.
///
/// # Errors
/// When the disk refuses; the file at `path` is then untouched and the temporary one removed.
pub fn save(
    path: &Path,
    tensors: &BTreeMap<String, NamedTensor>,
    precision: Precision,
    metadata: &BTreeMap<String, String>,
) -> Result<(), WeightsError> {
    let shapes: Vec<(&str, &[usize])> =
        tensors.iter().map(|(name, t)| (name.as_str(), t.shape.as_slice())).collect();
    save_each(path, &shapes, precision, metadata, |i| tensors[shapes[i].0].values.clone())
}

/// The same for values that are not all here at once: `values` is asked for those of each of the named `shapes`, one after the
/// other. The names are in their alphabetical order.
///
/// # Errors
/// As [`save`].
pub fn save_each(
    path: &Path,
    shapes: &[(&str, &[usize])],
    precision: Precision,
    metadata: &BTreeMap<String, String>,
    values: impl Fn(usize) -> Tensor<1>,
) -> Result<(), WeightsError> {
    let header = header(shapes, precision, metadata);
    let write = |out: &mut BufWriter<File>| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        shapes.iter().enumerate().try_for_each(|(i, (name, shape))| {
            let values = values(i);
            assert_eq!(
                values.dims(),
                [shape.iter().product::<usize>()],
                "values of `{name}` for its shape {shape:?}"
            );
            write_values(out, values, precision)
        })
    };
    add_files::replace(path, write).map_err(|source| WeightsError::Io { path: path.to_path_buf(), source })
}

/// Writes what follows the header: every value, in the order of the names.
///
/// # Errors
/// When `out` refuses.
pub fn write_data(
    out: &mut impl Write,
    tensors: &BTreeMap<String, NamedTensor>,
    precision: Precision,
) -> io::Result<()> {
    tensors.values().try_for_each(|tensor| write_values(out, tensor.values.clone(), precision))
}

/// JSON with sorted keys, padded with spaces so that the values start at a multiple of 8 bytes.
fn header(shapes: &[(&str, &[usize])], precision: Precision, metadata: &BTreeMap<String, String>) -> String {
    let (dtype, bytes) = precision.name_and_bytes();
    let mut fields = BTreeMap::new();
    if !metadata.is_empty() {
        fields.insert("__metadata__", json!(metadata));
    }
    let mut start = 0;
    for (name, shape) in shapes {
        let end = start + shape.iter().product::<usize>() * bytes;
        fields.insert(*name, json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }));
        start = end;
    }
    let mut header = json!(fields).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    header
}

fn write_values(out: &mut impl Write, values: Tensor<1>, precision: Precision) -> io::Result<()> {
    let values = values.without_autodiff();
    let data = match precision {
        // Bf16 and F16 are rounded here, from the number that is stored: twice rounded is not once rounded.
        Precision::F64 => values.into_data_dtype(DType::F64),
        _ => values.into_data_dtype(DType::F32),
    };
    let wrong = |error| io::Error::other(format!("values that are no floats: {error:?}"));
    if precision == Precision::F64 {
        return data
            .as_slice::<f64>()
            .map_err(wrong)?
            .iter()
            .try_for_each(|v| out.write_all(&v.to_le_bytes()));
    }
    let values = data.as_slice::<f32>().map_err(wrong)?;
    match precision {
        Precision::F16 => values.iter().try_for_each(|&v| out.write_all(&f16::from_f32(v).to_le_bytes())),
        Precision::Bf16 => values.iter().try_for_each(|&v| out.write_all(&bf16::from_f32(v).to_le_bytes())),
        Precision::F32 | Precision::F64 => values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use burn::tensor::Device;

    use super::*;
    use crate::WeightsFile;

    /// Every class of f32: both zeros, subnormal, extremes, ordinary numbers, infinity and a NaN with a payload.
    fn awkward() -> Vec<f32> {
        let bits = [0, 0x8000_0000, 1, 0x7F7F_FFFF, 0x3F80_0001, 0xC048_F5C3, 0x7F80_0000, 0x7FC0_1234];
        bits.map(f32::from_bits).to_vec()
    }

    fn tensors(values: &[f32]) -> BTreeMap<String, NamedTensor> {
        let values = Tensor::from_data(values, &Device::flex());
        BTreeMap::from([("a.b".to_owned(), NamedTensor { shape: vec![2, 4], values })])
    }

    #[test]
    fn single_precision_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.safetensors");
        let metadata =
            BTreeMap::from([("format".to_owned(), "pt".to_owned()), ("z".to_owned(), "1".to_owned())]);
        save(&path, &tensors(&awkward()), Precision::F32, &metadata).expect("written");
        let file = WeightsFile::open(&path).expect("sound");
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&file.floats::<f32>("a.b").expect("floats")), bits(&awkward()));
        let tensor = file.tensor("a.b", DType::F32, &Device::flex()).expect("floats");
        assert_eq!(bits(&tensor.into_data().try_to_vec::<f32>().expect("f32")), bits(&awkward()));
        assert_eq!(file.info("a.b").expect("there").shape, [2, 4]);
        assert_eq!(file.metadata(), &metadata);
        assert!(matches!(file.check_finite(["a.b"]), Err(WeightsError::NonFinite { index: 6, .. })));
        let first = fs::read(&path).expect("bytes");
        save(&path, &tensors(&awkward()), Precision::F32, &metadata).expect("written");
        assert_eq!(first, fs::read(&path).expect("bytes"), "equal weights, equal bytes");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "no temporary file is left");
    }

    #[test]
    fn half_precisions_round_to_nearest() {
        let folder = tempfile::tempdir().expect("a folder");
        let values = [1.0, -2.5, 3.3, 1e-3, 0.1, 100.0, -0.0, 7.0];
        for (precision, relative) in [(Precision::F16, 1.0 / 2048.0), (Precision::Bf16, 1.0 / 256.0)] {
            let path = folder.path().join("x.safetensors");
            save(&path, &tensors(&values), precision, &BTreeMap::new()).expect("written");
            let file = WeightsFile::open(&path).expect("sound");
            for (read, value) in file.floats::<f32>("a.b").expect("floats").into_iter().zip(values) {
                assert!(
                    (read - value).abs() <= relative * value.abs(),
                    "{precision:?}: {value} became {read}"
                );
            }
            file.check_finite(["a.b"]).expect("finite");
        }
    }

    #[test]
    fn a_full_or_missing_folder_is_an_error_that_names_the_path() {
        let path = Path::new("/nonexistent-folder/x.safetensors");
        let error =
            save(path, &tensors(&awkward()), Precision::F32, &BTreeMap::new()).expect_err("no folder");
        assert!(error.to_string().contains("/nonexistent-folder/x.safetensors"), "{error}");
    }
}
