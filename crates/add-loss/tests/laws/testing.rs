//! Plugins as a recipe would name them, heads and features in f64, and how numbers are compared.

use std::collections::BTreeMap;

use add_loss::{R1, R1Route, Reduction, r1};
use add_plugin::{Draw, Network, Plugin, Purpose, Schedule, Weighting};
use burn::tensor::{DType, Device, Tensor};
use heads::{ProjectedHead, ProjectedHeads};
use ron::extensions::Extensions;
// Linking a crate of plugins is not enough: something must name it.
use {schedules as _, weightings as _};

fn options() -> ron::Options {
    ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES)
}

pub(crate) fn schedule(text: &str) -> Plugin<dyn Schedule> {
    options().from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(crate) fn weighting(text: &str) -> Plugin<dyn Weighting> {
    options().from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Heads, trainable, with the features of a batch of four.
pub(crate) struct Case {
    pub(crate) heads: ProjectedHeads,
    pub(crate) real: Vec<Tensor<3>>,
    pub(crate) fake: Vec<Tensor<3>>,
    pub(crate) condition: Option<Tensor<2>>,
}

/// Five heads on features of 12 channels and 16 tokens, under a condition of 10 numbers.
pub(crate) fn conditional() -> Case {
    case(5, 10)
}

/// Two heads without a condition.
pub(crate) fn unconditional() -> Case {
    case(2, 0)
}

fn case(count: usize, condition_width: usize) -> Case {
    let (channels, tokens, batch) = (12, 16, 4);
    let device = Device::flex().autodiff();
    let mut heads =
        ProjectedHead::default().build(&vec![channels; count], condition_width, 5, &device).expect("heads");
    heads.map_parameters(&mut |_, _, value| value.cast(DType::F64));
    let features =
        |first: usize| (first..first + count).map(|k| random([batch, channels, tokens], k as u64)).collect();
    let condition =
        (condition_width > 0).then(|| random([1, batch, condition_width], 1000).squeeze_dim::<2>(0));
    Case { heads, real: features(100), fake: features(200), condition }
}

impl Case {
    pub(crate) fn r1(&self, route: R1Route) -> R1 {
        r1(&self.heads, &self.real, self.condition.as_ref(), route, &[], Reduction::Sum)
    }

    /// The gradients of `loss` by parameter.
    pub(crate) fn gradients(&self, loss: Tensor<1>) -> BTreeMap<String, Vec<f64>> {
        let taken = self.heads.take_gradients(&mut loss.backward());
        taken.into_iter().map(|(path, gradient)| (path, values(gradient))).collect()
    }
}

pub(crate) fn random(shape: [usize; 3], index: u64) -> Tensor<3> {
    let draw = Draw { seed: 9, step: 0, index };
    let values = draw.normal(Purpose::Test, shape.iter().product());
    tensor(&values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>(), shape)
}

pub(crate) fn tensor<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
    Tensor::<1>::from_data(values, (&Device::flex(), DType::F64)).reshape(shape)
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().try_to_vec().expect("float64")
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
