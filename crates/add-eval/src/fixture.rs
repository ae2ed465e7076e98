//! Reads the reference tensors the libraries' own code made (`tests/fixtures/metrics`), for tests only.

use safetensors::{Dtype, SafeTensors};

use crate::FeatureSet;

/// One fixture file in memory.
pub(crate) struct Fixture(Vec<u8>);

impl Fixture {
    /// Opens `tests/fixtures/metrics/<name>.io.safetensors`.
    pub(crate) fn open(name: &str) -> Self {
        let path = format!("{}/tests/fixtures/metrics/{name}.io.safetensors", env!("CARGO_MANIFEST_DIR"));
        Self(std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    /// Shape and little-endian bytes of a tensor.
    pub(crate) fn bytes(&self, key: &str, dtype: Dtype) -> (Vec<usize>, Vec<u8>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(key).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(view.dtype(), dtype, "{key}");
        (view.shape().to_vec(), view.data().to_vec())
    }

    /// Shape and values of a float64 tensor.
    pub(crate) fn f64s(&self, key: &str) -> (Vec<usize>, Vec<f64>) {
        let (shape, bytes) = self.bytes(key, Dtype::F64);
        (shape, bytes.as_chunks().0.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect())
    }

    /// Shape and values of a float32 tensor.
    pub(crate) fn f32s(&self, key: &str) -> (Vec<usize>, Vec<f32>) {
        let (shape, bytes) = self.bytes(key, Dtype::F32);
        (shape, bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
    }

    /// A float64 scalar.
    pub(crate) fn scalar(&self, key: &str) -> f64 {
        self.f64s(key).1[0]
    }

    /// A float64 matrix `[rows, dim]` as a feature set.
    pub(crate) fn set(&self, key: &str) -> FeatureSet {
        let (shape, values) = self.f64s(key);
        FeatureSet::new(shape[1], values).unwrap()
    }
}

/// Fails unless `got` is within `relative` of `want`, measured against the larger magnitude.
#[track_caller]
pub(crate) fn assert_close(got: f64, want: f64, relative: f64) {
    let scale = got.abs().max(want.abs());
    assert!((got - want).abs() <= relative * scale, "got {got}, want {want}");
}
