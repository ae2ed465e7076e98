//! One compared tensor, and the collection of a fixture's rows.

use std::{collections::BTreeSet, fmt::Display};

use burn::tensor::{DType, Gradients, Tensor};

use crate::Fixture;

/// What became of one tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was compared.
    Compared {
        /// Largest absolute difference from the expected values; NaN where one is NaN.
        difference: f64,
        /// Largest that is accepted.
        tolerance: f64,
    },
    /// It could not be compared, which counts as a failure.
    Failed(String),
    /// It was left out, for this reason.
    Skipped(String),
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq)]
pub struct ParityRow {
    /// The tensor's name in the fixture; the precision where a fixture is compared in two, and the worst place where a
    /// tensor's parts are compared one by one.
    pub tensor: String,
    /// What became of it.
    pub outcome: Outcome,
}

impl ParityRow {
    pub(crate) fn failed(tensor: &str, problem: impl Display) -> Self {
        Self { tensor: tensor.to_owned(), outcome: Outcome::Failed(problem.to_string()) }
    }

    pub(crate) fn skipped(tensor: &str, reason: impl Display) -> Self {
        Self { tensor: tensor.to_owned(), outcome: Outcome::Skipped(reason.to_string()) }
    }

    /// Whether it is within its tolerance.
    pub fn passed(&self) -> bool {
        matches!(self.outcome, Outcome::Compared { difference, tolerance } if difference <= tolerance)
    }

    /// Whether it was left out.
    pub fn was_skipped(&self) -> bool {
        matches!(self.outcome, Outcome::Skipped(_))
    }

    /// Neither passed nor left out.
    pub fn failure(&self) -> bool {
        !self.passed() && !self.was_skipped()
    }
}

/// How far a value may be from the expected one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tolerance {
    /// The library's own difference between its f32 and its f64, 5 times, within 2e-6 and 2e-5 of the largest
    /// expected value.
    Rounding(f64),
    /// A part of the largest expected value, or of `floor` where all are smaller.
    Relative {
        /// The part.
        part: f64,
        /// Values below it count as rounding.
        floor: f64,
    },
    /// The same whatever the values are.
    Absolute(f64),
}

/// Part of the largest value that computing in f32 may cost where the expected values are those of f64.
const IN_F32: f64 = 1e-4;

/// Why what was recorded in f64 alone is left out on some devices.
pub(crate) const NO_F64: &str = "recorded in f64, in which this device does not compute";

impl Tolerance {
    /// The same for values that were computed in `dtype`: f32 cannot be held to the rounding of f64.
    pub(crate) fn in_type(self, dtype: DType) -> Self {
        match self {
            Self::Relative { part, floor } if dtype != DType::F64 && part < f64::from(f32::EPSILON) => {
                Self::Relative { part: IN_F32, floor }
            }
            other => other,
        }
    }

    /// A part of the largest expected value.
    pub(crate) fn relative(part: f64) -> Self {
        Self::Relative { part, floor: 0.0 }
    }

    /// The largest accepted difference from values of which the largest is `largest`.
    pub(crate) fn of(self, largest: f64) -> f64 {
        match self {
            Self::Rounding(own) => (5.0 * own).max(2e-6 * largest).min(2e-5 * largest),
            Self::Relative { part, floor } => part * largest.max(floor),
            Self::Absolute(tolerance) => tolerance,
        }
    }
}

/// The rows of one fixture as they come.
pub(crate) struct Comparison<'a> {
    fixture: &'a Fixture,
    label: &'static str,
    rows: Vec<ParityRow>,
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(fixture: &'a Fixture) -> Self {
        Self { fixture, label: "", rows: Vec::new() }
    }

    /// Follows the names of the rows to come.
    pub(crate) fn label(&mut self, label: &'static str) {
        self.label = label;
    }

    /// Compares a network's output with `key` by the library's own rounding. A flat tensor has any shape.
    pub(crate) fn check<const D: usize>(&mut self, key: &str, got: Tensor<D>) {
        self.check_tensor(key, got, Tolerance::Rounding(self.fixture.rounding(key)));
    }

    /// The same where the fixture has such a tensor.
    pub(crate) fn check_if_there<const D: usize>(&mut self, key: &str, got: impl FnOnce() -> Tensor<D>) {
        if self.fixture.has(key) {
            self.check(key, got());
        }
    }

    /// Compares shapes and values.
    pub(crate) fn check_tensor<const D: usize>(&mut self, key: &str, got: Tensor<D>, tolerance: Tolerance) {
        let (shape, tolerance) = (got.dims(), tolerance.in_type(got.dtype()));
        match self.fixture.shape(key) {
            Ok(expected) if D > 1 && expected != shape => {
                self.fail(key, format!("expected shape {expected:?}, got {shape:?}"));
            }
            _ => self.check_values(key, &values(got), tolerance),
        }
    }

    /// What is accepted of values that were computed in the fixture's widest type, where it is f64 at best.
    pub(crate) fn computed(&self, tolerance: Tolerance) -> Tolerance {
        tolerance.in_type(self.fixture.wide())
    }

    /// Compares values in row-major order.
    pub(crate) fn check_values(&mut self, key: &str, got: &[f64], tolerance: Tolerance) {
        match self.fixture.numbers(key) {
            Ok(expected) if expected.values.len() == got.len() => {
                let tolerance = tolerance.of(expected.largest());
                self.record(key, largest_difference(got, &expected.values), tolerance);
            }
            Ok(expected) => {
                self.fail(key, format!("expected {} values, got {}", expected.values.len(), got.len()));
            }
            Err(error) => self.fail(key, error),
        }
    }

    /// Compares each row of a tensor `[N, ...]` by its own size and the tolerance of its number; the row of the report is the worst
    /// of them.
    pub(crate) fn check_rows(&mut self, key: &str, got: &[Vec<f64>], tolerance: impl Fn(usize) -> Tolerance) {
        let expected = match self.fixture.numbers(key) {
            Ok(expected) => expected,
            Err(error) => return self.fail(key, error),
        };
        let size = expected.values.len() / got.len().max(1);
        if size == 0 || expected.shape.first() != Some(&got.len()) || got.iter().any(|row| row.len() != size)
        {
            let sizes: Vec<usize> = got.iter().map(Vec::len).collect();
            return self.fail(key, format!("expected shape {:?}, got rows of {sizes:?}", expected.shape));
        }
        let compared =
            got.iter().zip(expected.values.chunks_exact(size)).enumerate().map(|(i, (got, row))| {
                let largest = row.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
                (format!("row {i}"), largest_difference(got, row), tolerance(i).of(largest))
            });
        self.record_worst(key, compared);
    }

    /// The worst of the comparisons of a tensor's parts, each with its place, difference and tolerance.
    pub(crate) fn record_worst(&mut self, key: &str, compared: impl IntoIterator<Item = (String, f64, f64)>) {
        // A NaN is the worst of all, and `total_cmp` places it so.
        let share = |difference: f64, tolerance: f64| {
            if difference == 0.0 && tolerance == 0.0 { 0.0 } else { (difference / tolerance).abs() }
        };
        let worst =
            compared.into_iter().max_by(|(_, d, t), (_, e, u)| share(*d, *t).total_cmp(&share(*e, *u)));
        match worst {
            Some((place, difference, tolerance)) => {
                self.record(&format!("{key}, {place}"), difference, tolerance);
            }
            None => self.fail(key, "it has no part that could be compared"),
        }
    }

    /// A comparison that was made elsewhere.
    pub(crate) fn record(&mut self, key: &str, difference: f64, tolerance: f64) {
        self.push(key, Outcome::Compared { difference, tolerance });
    }

    pub(crate) fn fail(&mut self, key: &str, problem: impl Display) {
        // Asked for, so not forgotten as well.
        let _ = self.fixture.numbers(key);
        self.push(key, Outcome::Failed(problem.to_string()));
    }

    pub(crate) fn skip(&mut self, key: &str, reason: impl Display) {
        self.push(key, Outcome::Skipped(reason.to_string()));
    }

    fn push(&mut self, key: &str, outcome: Outcome) {
        self.rows.push(ParityRow { tensor: format!("{key}{}", self.label), outcome });
    }

    /// All rows, with one for each expected tensor that was not compared: left out for the reason that `left_out`
    /// knows, else failed.
    pub(crate) fn finish(mut self, left_out: impl Fn(&str) -> Option<String>) -> Vec<ParityRow> {
        let named: BTreeSet<String> = self.rows.iter().map(|row| row.tensor.clone()).collect();
        for key in self.fixture.unread().iter().filter(|key| !named.contains(*key)) {
            self.rows.push(match left_out(key) {
                Some(reason) => ParityRow::skipped(key, reason),
                None => ParityRow::failed(key, "expected by the fixture, and nothing here computes it"),
            });
        }
        self.rows
    }
}

/// Nothing is left out.
pub(crate) fn nothing(_key: &str) -> Option<String> {
    None
}

/// The largest absolute difference; NaN if there is one, since a maximum would lose it.
pub(crate) fn largest_difference(got: &[f64], expected: &[f64]) -> f64 {
    let differences = got.iter().zip(expected).map(|(g, e)| (g - e).abs());
    differences.fold(0.0, |largest: f64, d| if d <= largest || largest.is_nan() { largest } else { d })
}

/// A tensor's values in double precision.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    let data = tensor.without_autodiff().into_data();
    data.try_into_vec_as().expect("floats of any type become f64")
}

/// The gradient of a leaf; one that nothing reached is zero.
pub(crate) fn gradient<const D: usize>(leaf: &Tensor<D>, gradients: &Gradients) -> Tensor<D> {
    leaf.grad(gradients).unwrap_or_else(|| leaf.clone().inner().zeros_like())
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use std::fs;

    use super::*;
    use crate::Found;

    /// A fixture without a tensor.
    fn empty() -> Fixture {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("x.io.safetensors"), b"\x02\0\0\0\0\0\0\0{}").expect("written");
        fs::write(folder.path().join("x.json"), "{}").expect("written");
        let [family, name, label] = ["unet", "x", "x"].map(str::to_owned);
        Fixture::open(
            &Found { family, name, label, folder: folder.path().to_path_buf() },
            &burn::tensor::Device::flex(),
        )
        .expect("sound")
    }

    #[test]
    fn the_worst_part_is_the_one_furthest_beyond_its_own_tolerance() {
        let fixture = empty();
        let worst = |parts: &[(f64, f64)]| {
            let mut rows = Comparison::new(&fixture);
            let parts = parts.iter().enumerate().map(|(i, &(d, t))| (format!("part {i}"), d, t));
            rows.record_worst("x", parts);
            rows.rows.remove(0)
        };
        let large_but_right = (5.0, 100.0);
        let named = |i: usize| format!("x, part {i}");
        let row = worst(&[large_but_right, (2e-3, 1e-3), (0.0, 0.0)]);
        assert_eq!((row.tensor.clone(), row.failure()), (named(1), true));
        let row = worst(&[large_but_right, (f64::NAN, 1.0), (2.0, 1.0)]);
        assert_eq!((row.tensor.clone(), row.failure()), (named(1), true));
        let row = worst(&[(0.0, 0.0), large_but_right, (1e-9, 0.0)]);
        assert_eq!((row.tensor.clone(), row.failure()), (named(2), true));
        let row = worst(&[(0.0, 0.0), large_but_right]);
        assert_eq!((row.tensor.clone(), row.passed()), (named(1), true));
        assert!(worst(&[]).failure(), "nothing was compared");
    }

    #[test]
    fn rounding_is_five_times_the_librarys_within_its_bounds() {
        assert_eq!(Tolerance::Rounding(1.0).of(1e5 * 10.0), 5.0);
        assert_eq!(Tolerance::Rounding(0.0).of(1.0), 2e-6, "never tighter than 2e-6 of the largest value");
        assert_eq!(Tolerance::Rounding(1.0).of(1.0), 2e-5, "never looser than 2e-5 of the largest value");
    }

    #[test]
    fn f32_is_not_held_to_the_rounding_of_f64() {
        let double = Tolerance::relative(1e-9);
        assert_eq!(double.in_type(DType::F64), double);
        assert_eq!(double.in_type(DType::F32), Tolerance::relative(IN_F32));
        let single = Tolerance::relative(2e-6);
        assert_eq!(single.in_type(DType::F32), single, "stated for f32");
    }

    #[test]
    fn a_nan_is_never_within_tolerance() {
        for got in [[f64::NAN, 1.0], [1.0, f64::NAN]] {
            let difference = largest_difference(&got, &[1.0, 1.0]);
            assert!(difference.is_nan());
            let outcome = Outcome::Compared { difference, tolerance: f64::INFINITY };
            assert!(ParityRow { tensor: String::new(), outcome }.failure());
        }
    }
}
