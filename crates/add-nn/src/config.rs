//! What the networks' configurations have in common: errors, per-level values, options with one supported value.

use std::{collections::BTreeMap, fmt::Display};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A configuration that no network can be built from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: expected {expected}, got {got}")]
pub struct ConfigError {
    /// The field of the configuration.
    pub field: String,
    /// What would be accepted.
    pub expected: String,
    /// What it holds.
    pub got: String,
}

/// One number for all levels, or one for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerLevel {
    /// The same everywhere.
    All(usize),
    /// From the finest level to the coarsest.
    Each(Vec<usize>),
}

impl PerLevel {
    /// The number of level `i`; the length was checked before.
    pub(crate) fn at(&self, i: usize) -> usize {
        match self {
            Self::All(n) => *n,
            Self::Each(each) => each[i],
        }
    }

    pub(crate) fn check(&self, field: &str, levels: usize) -> Result<(), ConfigError> {
        if let Self::Each(each) = self {
            require(each.len() == levels, field, format!("{levels} entries"), each.len())?;
        }
        let positive = (0..levels).all(|i| self.at(i) > 0);
        require(positive, field, "positive numbers", format!("{self:?}"))
    }
}

/// Fails with `expected` and `got` unless `holds`.
pub(crate) fn require(
    holds: bool,
    field: &str,
    expected: impl Display,
    got: impl Display,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError { field: field.to_owned(), expected: expected.to_string(), got: got.to_string() })
}

/// Checks fields that may be absent or null, or else hold the one supported value, given as JSON.
pub(crate) fn check_only(fields: &BTreeMap<String, Value>, only: &[(&str, &str)]) -> Result<(), ConfigError> {
    for &(field, supported) in only {
        let Some(value) = fields.get(field).filter(|value| !value.is_null()) else { continue };
        let wanted: Value = serde_json::from_str(supported).unwrap_or(Value::Null);
        // 1 and 1.0 are the same option.
        let equal = value == &wanted || value.as_f64().is_some_and(|v| wanted.as_f64() == Some(v));
        require(equal, field, format!("{supported} (the only supported value)"), value)?;
    }
    Ok(())
}
