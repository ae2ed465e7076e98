//! Ranges of the recipe's numbers, checked while it is read.

use serde::{Deserialize, Deserializer, de::Error};

/// A number strictly between 0 and 1.
pub(crate) fn open_unit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if value > 0.0 && value < 1.0 {
        return Ok(value);
    }
    Err(D::Error::custom(format!("expected a number between 0 and 1, got {value}")))
}
