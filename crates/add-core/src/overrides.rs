//! `--set path=value`: edits a recipe's text before it is read, so that errors point into what was typed.

use std::ops::Range;

use crate::spans;

/// One override that cannot be applied.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OverrideError {
    /// There is no `=`.
    #[error("{0}: expected path=value, such as objective.generator.lr=2e-5")]
    NoEquals(String),
    /// A parent of the path is not in the recipe.
    #[error("{path}: the recipe states no `{parent}` to set `{name}` in; set `{parent}` as a whole")]
    NoParent {
        /// The whole path.
        path: String,
        /// The part that is missing.
        parent: String,
        /// The last part.
        name: String,
    },
}

/// Applies `path=value` to `text`.
///
/// # Errors
/// When the assignment has no `=`, or the parent of its path is not in the recipe.
pub(crate) fn apply(text: &str, assignment: &str) -> Result<String, OverrideError> {
    let (path, value) =
        assignment.split_once('=').ok_or_else(|| OverrideError::NoEquals(assignment.to_owned()))?;
    assign(text, path.trim(), value.trim())
}

/// Replaces the value at `path` where it stands, or adds the field to its parent.
///
/// # Errors
/// When the parent of the path is not in the recipe.
pub(crate) fn assign(text: &str, path: &str, value: &str) -> Result<String, OverrideError> {
    if let Some(place) = spans::find(text, path) {
        return Ok(splice(text, place, value));
    }
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let place = if parent.is_empty() { spans::whole(text) } else { spans::find(text, parent) };
    let open = place.and_then(|place| spans::inside(text, &place));
    let Some(at) = open else {
        let (path, parent, name) = (path.to_owned(), parent.to_owned(), name.to_owned());
        return Err(OverrideError::NoParent { path, parent, name });
    };
    Ok(splice(text, at..at, &format!("{name}: {value}, ")))
}

fn splice(text: &str, place: Range<usize>, with: &str) -> String {
    format!("{}{with}{}", &text[..place.start], &text[place.end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_replaced_where_it_stands() {
        assert_eq!(apply("(a: (b: 1, c: 2))", "a.b=30").unwrap(), "(a: (b: 30, c: 2))");
    }

    #[test]
    fn an_absent_field_is_added_to_its_parent() {
        assert_eq!(apply("(a: Name(c: 2))", "a.b = 1").unwrap(), "(a: Name(b: 1, c: 2))");
        assert_eq!(apply("(a: 1)", "seed=7").unwrap(), "(seed: 7, a: 1)");
        assert_eq!(apply("// (b)\n(a: 1)", "seed=7").unwrap(), "// (b)\n(seed: 7, a: 1)");
    }

    #[test]
    fn an_absent_parent_is_an_error_that_names_it() {
        let error = apply("(a: 1)", "b.c=1").unwrap_err();
        assert!(error.to_string().contains("`b`"), "{error}");
        assert!(matches!(apply("(a: 1)", "b"), Err(OverrideError::NoEquals(_))));
    }
}
