//! JSON as Python writes it: with `NaN` and `Infinity`, which the standard does not have.

use std::{fs, path::Path};

use serde::de::DeserializeOwned;

use crate::ParityError;

/// Reads a file; numbers that are not finite are null.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, name: &str) -> Result<T, ParityError> {
    let text =
        fs::read_to_string(path).map_err(|source| ParityError::Io { path: path.to_path_buf(), source })?;
    serde_json::from_str(&finite(&text)).map_err(|source| ParityError::Json { file: name.to_owned(), source })
}

fn finite(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Every second piece between quotation marks is a string; one after a backslash does not end it.
    let (mut inside, mut escaped, mut outside_from) = (false, false, 0);
    for (i, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if inside && c == '\\' {
            escaped = true;
        } else if c == '"' {
            if inside {
                out.push_str(&text[outside_from..i]);
            } else {
                out.push_str(&without_names(&text[outside_from..i]));
            }
            (inside, outside_from) = (!inside, i);
        }
    }
    out.push_str(&if inside {
        text[outside_from..].to_owned()
    } else {
        without_names(&text[outside_from..])
    });
    out
}

fn without_names(outside: &str) -> String {
    outside.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_numbers_become_null_and_strings_stay() {
        let text = r#"{"NaN": [NaN, -Infinity, Infinity, 1.5], "say \"NaN\"": "-Infinity"}"#;
        let want = r#"{"NaN": [null, null, null, 1.5], "say \"NaN\"": "-Infinity"}"#;
        assert_eq!(finite(text), want);
        assert_eq!(finite("NaN"), "null");
        assert_eq!(finite("\"torn NaN"), "\"torn NaN");
    }
}
