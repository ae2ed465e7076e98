//! One file of reference numbers, `tests/fixtures/<family>/<name>.io.safetensors`.
//!
//! `ADD_FIXTURES=DIR` reads them from another collection.

use std::{
    env,
    path::{Path, PathBuf},
};

use add_weights::WeightsFile;
use burn::tensor::{DType, Device, Tensor};

/// A fixture's tensors.
pub(crate) struct Fixture(WeightsFile);

impl Fixture {
    pub(crate) fn open(family: &str, name: &str) -> Self {
        let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        let root = env::var_os("ADD_FIXTURES").map_or(default, PathBuf::from);
        let path = root.join(family).join(format!("{name}.io.safetensors"));
        Self(WeightsFile::open(&path).unwrap_or_else(|error| panic!("{error}")))
    }

    /// The values of a float tensor in float64.
    pub(crate) fn values(&self, key: &str) -> Vec<f64> {
        self.0.floats(key).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A float tensor in float64 on the plain device.
    pub(crate) fn tensor<const D: usize>(&self, key: &str) -> Tensor<D> {
        let shape: [usize; D] =
            self.shape(key).try_into().unwrap_or_else(|shape| panic!("{key} is {shape:?}"));
        tensor(&self.values(key), shape)
    }

    pub(crate) fn scalar(&self, key: &str) -> f64 {
        self.values(key)[0]
    }

    pub(crate) fn timesteps(&self, key: &str) -> Vec<usize> {
        match self.0.integers(key) {
            Ok(values) => values.into_iter().map(|t| t as usize).collect(),
            Err(_) => self.values(key).into_iter().map(|t| t as usize).collect(),
        }
    }

    pub(crate) fn shape(&self, key: &str) -> Vec<usize> {
        self.0.info(key).unwrap_or_else(|error| panic!("{error}")).shape.clone()
    }

    /// Names that start with `prefix`, without it.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        self.0.tensors().keys().filter_map(|key| key.strip_prefix(prefix)).map(str::to_owned).collect()
    }

    /// Fails unless `got` is `key`'s tensor up to `relative` of its largest value.
    #[track_caller]
    pub(crate) fn check<const D: usize>(&self, key: &str, got: Tensor<D>, relative: f64) {
        self.check_values(key, &values(got), relative, 0.0);
    }

    /// As [`check`](Self::check), where values below `floor` count as rounding.
    #[track_caller]
    pub(crate) fn check_values(&self, key: &str, got: &[f64], relative: f64, floor: f64) {
        close(key, got, &self.values(key), relative, floor);
    }
}

/// Fails unless `got` is `want` up to `relative` of the largest wanted value, or of `floor`.
#[track_caller]
pub(crate) fn close(what: &str, got: &[f64], want: &[f64], relative: f64, floor: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(floor, |largest, w| largest.max(w.abs()));
    let errors = got.iter().zip(want).map(|(g, w)| (g - w).abs() / largest.max(f64::MIN_POSITIVE));
    // A maximum would lose a NaN.
    let worst = errors.fold(0.0, |worst, e| if e <= worst { worst } else { e });
    assert!(worst <= relative, "{what}: off by {worst:.2e} of {largest:.2e}, tolerance {relative:.0e}");
}

pub(crate) fn tensor<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
    Tensor::<1>::from_data(values, (&Device::flex(), DType::F64)).reshape(shape)
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().try_to_vec().expect("float64")
}
