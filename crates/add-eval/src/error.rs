//! What can be wrong with the inputs of a metric.

use thiserror::Error;

/// A metric cannot be computed from what it was given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvalError {
    /// A slice does not have the length its shape asks for.
    #[error("{what}: expected {expected} values, got {got}")]
    Length {
        /// The input that is wrong.
        what: &'static str,
        /// Values asked for.
        expected: usize,
        /// Values given.
        got: usize,
    },
    /// Two inputs that are compared have different widths.
    #[error("the two feature sets differ in width: expected {expected} features a row, got {got}")]
    Dim {
        /// Width of the first input.
        expected: usize,
        /// Width of the second input.
        got: usize,
    },
    /// The metric needs more rows than there are.
    #[error("{metric} needs at least {expected} rows in each set, got {got}")]
    TooFewRows {
        /// The metric.
        metric: &'static str,
        /// Least number of rows.
        expected: usize,
        /// Rows given.
        got: usize,
    },
    /// A number is outside its range.
    #[error("{what} must be in {range}, got {got}")]
    OutOfRange {
        /// The number.
        what: &'static str,
        /// Its range in words.
        range: String,
        /// What was given.
        got: usize,
    },
    /// A feature is NaN or infinite; a distance over it would be meaningless.
    #[error("row {row} holds a value that is not finite")]
    NotFinite {
        /// The first such row.
        row: usize,
    },
    /// A row of length zero has no direction, so no cosine.
    #[error("row {row} is all zeros: its cosine is not defined")]
    ZeroNorm {
        /// The first such row.
        row: usize,
    },
    /// The eigenvalue or singular value iteration did not converge.
    #[error("the {0} decomposition of the covariance did not converge")]
    Decomposition(&'static str),
    /// The disk does not give back the features that it was given.
    #[error("the features cannot be read back: {0}")]
    Read(String),
}

impl From<std::io::Error> for EvalError {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error.to_string())
    }
}

impl EvalError {
    /// Fails unless `got` is at least `expected` rows.
    pub(crate) fn need_rows(metric: &'static str, expected: usize, got: usize) -> Result<(), Self> {
        if got < expected { Err(Self::TooFewRows { metric, expected, got }) } else { Ok(()) }
    }

    /// Fails unless both widths agree.
    pub(crate) fn need_same_dim(expected: usize, got: usize) -> Result<(), Self> {
        if expected == got { Ok(()) } else { Err(Self::Dim { expected, got }) }
    }

    /// Fails unless `low <= got <= high`.
    pub(crate) fn need_range(what: &'static str, low: usize, high: usize, got: usize) -> Result<(), Self> {
        if (low..=high).contains(&got) {
            Ok(())
        } else {
            Err(Self::OutOfRange { what, range: format!("{low}..={high}"), got })
        }
    }
}
