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

    /// Looks at every float of the file.
    ///
    /// # Errors
    /// Names the first tensor with a value that is NaN or infinite.
    pub fn check_finite(&self) -> Result<(), WeightsError> {
        for (name, info) in self.tensors() {
            if !matches!(info.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                continue;
            }
            let values = self.floats::<f64>(name)?;
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                let (path, name) = (self.path().to_path_buf(), name.clone());
                return Err(WeightsError::NonFinite { path, name, index, value: values[index] });
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

fn words<const N: usize, T>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| from(chunk)).collect()
}
