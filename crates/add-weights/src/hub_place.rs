//! A repository of the Hugging Face hub, or a file in one.

use std::fmt;

/// A repository of the hub, or something in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubPlace {
    /// `owner/name`.
    pub repository: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Path in the repository; empty for the whole of it.
    pub path: String,
}

/// The branch that a location without a revision means.
pub(crate) const MAIN: &str = "main";
/// How a location on the hub begins.
pub(crate) const SCHEME: &str = "hf://";

impl fmt::Display for HubPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.repository)?;
        if self.revision != MAIN {
            write!(f, "@{}", self.revision)?;
        }
        if self.path.is_empty() { Ok(()) } else { write!(f, "/{}", self.path) }
    }
}
