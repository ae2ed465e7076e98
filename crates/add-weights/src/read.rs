//! Values out of a file: every float type widened or narrowed to the one that is asked for.

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::{bf16, f16};
use safetensors::Dtype;

use crate::{
    error::WeightsError,
    file::{TensorInfo, WeightsFile},
};

impl WeightsFile {
    /// One tensor's values as a flat tensor of `dtype` on `device`.
    ///
    /// # Errors
    /// When there is none of this name or it does not hold floats.
    pub fn tensor(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor<1>, WeightsError> {
        self.run(name, 0, 1, dtype, device)
    }

    /// The `part`-th of `of` equal runs of one tensor's values.
    pub(crate) fn run(
        &self,
        name: &str,
        part: usize,
        of: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor<1>, WeightsError> {
        let info = self.info(name)?;
        let all = self.bytes_of(info);
        let run = all.len() / of;
        let bytes = &all[part * run..(part + 1) * run];
        let data = match (info.dtype, dtype) {
            (Dtype::F64, _) | (_, DType::F64) => flat(self.decoded::<f64>(name, info, bytes)?),
            // Same type on both sides: no detour, so the bits stay what they are.
            (Dtype::F16, DType::F16) => flat(words(bytes, f16::from_le_bytes)),
            (Dtype::BF16, DType::BF16) => flat(words(bytes, bf16::from_le_bytes)),
            _ => flat(self.decoded::<f32>(name, info, bytes)?),
        };
        Ok(Tensor::from_data(data, (device, dtype)))
    }

    /// One tensor's values.
    ///
    /// # Errors
    /// When there is none of this name or it does not hold floats.
    pub fn floats<F: Float>(&self, name: &str) -> Result<Vec<F>, WeightsError> {
        let info = self.info(name)?;
        self.decoded(name, info, self.bytes_of(info))
    }

    fn decoded<F: Float>(&self, name: &str, info: &TensorInfo, bytes: &[u8]) -> Result<Vec<F>, WeightsError> {
        match info.dtype {
            Dtype::F64 => Ok(words(bytes, |b| F::narrow(f64::from_le_bytes(b)))),
            Dtype::F32 => Ok(words(bytes, |b| F::widen(f32::from_le_bytes(b)))),
            Dtype::F16 => Ok(words(bytes, |b| F::widen(f16::from_le_bytes(b).to_f32()))),
            Dtype::BF16 => Ok(words(bytes, |b| F::widen(bf16::from_le_bytes(b).to_f32()))),
            _ => Err(self.wrong_type(name, info, "F16, BF16, F32 or F64")),
        }
    }

    /// One tensor's whole numbers.
    ///
    /// # Errors
    /// When there is none of this name or it does not hold U8, I32 or I64.
    pub fn integers(&self, name: &str) -> Result<Vec<i64>, WeightsError> {
        let info = self.info(name)?;
        let bytes = self.bytes_of(info);
        match info.dtype {
            Dtype::I64 => Ok(words(bytes, i64::from_le_bytes)),
            Dtype::I32 => Ok(words(bytes, |b| i64::from(i32::from_le_bytes(b)))),
            Dtype::U8 => Ok(bytes.iter().copied().map(i64::from).collect()),
            _ => Err(self.wrong_type(name, info, "U8, I32 or I64")),
        }
    }

    /// Looks at every float of the tensors that `names` names.
    ///
    /// # Errors
    /// Names the first tensor with a value that is NaN or infinite.
    pub fn check_finite<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), WeightsError> {
        for name in names {
            let info = self.info(name)?;
            let bytes = self.bytes_of(info);
            // Neither NaN nor an infinity leaves a bit of the exponent clear.
            let index = match info.dtype {
                Dtype::F64 => first(bytes, |b| u64::from_le_bytes(b) << 1 >> 53 == 0x7FF),
                Dtype::F32 => first(bytes, |b| u32::from_le_bytes(b) << 1 >> 24 == 0xFF),
                Dtype::F16 => first(bytes, |b| u16::from_le_bytes(b) & 0x7C00 == 0x7C00),
                Dtype::BF16 => first(bytes, |b| u16::from_le_bytes(b) & 0x7F80 == 0x7F80),
                _ => None,
            };
            if let Some(index) = index {
                let value = self.floats::<f64>(name)?[index];
                let (path, name) = (self.path().to_path_buf(), name.to_owned());
                return Err(WeightsError::NonFinite { path, name, index, value });
            }
        }
        Ok(())
    }

    fn wrong_type(&self, name: &str, info: &TensorInfo, expected: &'static str) -> WeightsError {
        let (path, name, found) = (self.path().to_path_buf(), name.to_owned(), format!("{:?}", info.dtype));
        WeightsError::Dtype { path, name, expected, found }
    }
}

/// The float types that values can be read as.
pub trait Float: Copy {
    /// From the widest type of a file.
    fn narrow(value: f64) -> Self;
    /// From any narrower type of a file; exact.
    fn widen(value: f32) -> Self;
}

impl Float for f32 {
    fn narrow(value: f64) -> Self {
        value as f32
    }
    fn widen(value: f32) -> Self {
        value
    }
}

impl Float for f64 {
    fn narrow(value: f64) -> Self {
        value
    }
    fn widen(value: f32) -> Self {
        Self::from(value)
    }
}

fn flat<E: burn::tensor::Element>(values: Vec<E>) -> TensorData {
    let n = values.len();
    TensorData::new(values, [n])
}

/// Position of the first word that is `wanted`.
fn first<const N: usize>(bytes: &[u8], wanted: impl Fn([u8; N]) -> bool) -> Option<usize> {
    const BLOCK: usize = 4096;
    let words = bytes.as_chunks::<N>().0;
    // Without an exit in the middle a block is looked at many words at a time.
    let block = words.chunks(BLOCK).position(|block| block.iter().fold(false, |any, &w| any | wanted(w)))?;
    let within = words[block * BLOCK..].iter().position(|&word| wanted(word))?;
    Some(block * BLOCK + within)
}

fn words<const N: usize, T>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| from(chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_no_number_is_found_in_each_type() {
        let at = 5000;
        let bits: [(&str, usize, u64, u64, u64); 4] = [
            ("F64", 8, 0x7FF0_0000_0000_0001, 0xFFF0_0000_0000_0000, 0xFFEF_FFFF_FFFF_FFFF),
            ("F32", 4, 0x7F80_0001, 0xFF80_0000, 0xFF7F_FFFF),
            ("F16", 2, 0x7C01, 0xFC00, 0xFBFF),
            ("BF16", 2, 0x7F81, 0xFF80, 0xFF7F),
        ];
        for (dtype, size, nan, infinity, largest) in bits {
            for (word, finite) in [(nan, false), (infinity, false), (largest, true)] {
                let mut data = vec![0; 6000 * size];
                data[at * size..(at + 1) * size].copy_from_slice(&word.to_le_bytes()[..size]);
                let header = format!(
                    r#"{{"x":{{"dtype":"{dtype}","shape":[6000],"data_offsets":[0,{}]}}}}"#,
                    data.len()
                );
                let bytes = (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(data);
                let file = WeightsFile::from_bytes("test", bytes.collect::<Vec<u8>>()).expect("sound");
                match file.check_finite(["x"]) {
                    Ok(()) => assert!(finite, "{dtype} {word:x}"),
                    Err(WeightsError::NonFinite { index, value, .. }) => {
                        assert!(!finite && index == at && !value.is_finite(), "{dtype} {word:x}");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}
