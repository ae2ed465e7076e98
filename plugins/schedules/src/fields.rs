//! Ranges of the recipe's numbers, checked while it is read.

use std::num::NonZeroUsize;

use serde::{Deserialize, Deserializer, de::Error};

/// Most training timesteps. The released models have 1,000; every one is an entry in several tables.
const MOST_STEPS: usize = 100_000;

/// Smallest beta: below, `1 - beta` is 1 in float64 before long and the schedule does not fall.
const LEAST_BETA: f64 = 1e-8;

/// The number of training timesteps.
pub(crate) fn steps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroUsize, D::Error> {
    let value = NonZeroUsize::deserialize(deserializer)?;
    if value.get() <= MOST_STEPS {
        return Ok(value);
    }
    Err(D::Error::custom(format!("expected at most {MOST_STEPS} steps, got {value}")))
}

/// A beta, or a limit of betas.
pub(crate) fn beta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = open_unit(deserializer)?;
    if value >= LEAST_BETA {
        return Ok(value);
    }
    Err(D::Error::custom(format!("expected a number from {LEAST_BETA} on, got {value}")))
}

/// A number strictly between 0 and 1.
pub(crate) fn open_unit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if value > 0.0 && value < 1.0 {
        return Ok(value);
    }
    Err(D::Error::custom(format!("expected a number between 0 and 1, got {value}")))
}

/// A number above 0.
pub(crate) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if value > 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(D::Error::custom(format!("expected a number above 0, got {value}")))
}
