//! What can go wrong while a plugin is built or used.

use std::{ops::RangeInclusive, path::PathBuf};

/// An error of a plugin; the text says what was expected, what was found and what to do.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// A field of the recipe has a value that the plugin cannot work with.
    #[error("{field}: {problem}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// Expected and got.
        problem: String,
    },
    /// Two parts of the recipe do not fit together.
    #[error("{0}")]
    Mismatch(String),
    /// A file is missing or cannot be read.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Weights cannot be had or do not fit; the text names the file and says what to do.
    #[error("{0}")]
    Weights(String),
    /// A sample cannot be used: it is skipped, and counted by `problem`.
    #[error("sample {index}, {file}: {problem}")]
    Sample {
        /// Index in its split.
        index: usize,
        /// Where it lies.
        file: String,
        /// What is wrong with it, in words that other samples with the same trouble share.
        problem: String,
    },
    /// What holds the data does not answer, or not as it did before: no sample is at fault, so none is skipped.
    #[error("{0}")]
    Store(String),
    /// The disk does not take or give back what was put on it for the time of the run.
    #[error("temporary files: {0}")]
    Temporary(#[from] std::io::Error),
}

/// Checks a size that a recipe states, before anything of that size is made.
///
/// # Errors
/// When it is out of range.
pub fn within(field: &'static str, value: usize, range: RangeInclusive<usize>) -> Result<(), PluginError> {
    if range.contains(&value) {
        return Ok(());
    }
    let problem = format!("expected {} to {}, got {value}", range.start(), range.end());
    Err(PluginError::Field { field, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_out_of_range_is_named_with_the_range() {
        assert!(within("width", 8, 1..=8).is_ok());
        let refusal = within("width", 9, 1..=8).unwrap_err().to_string();
        assert_eq!(refusal, "width: expected 1 to 8, got 9");
    }
}
