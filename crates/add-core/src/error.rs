//! What can go wrong between a recipe and a result. Each error says what was expected, what was found, what to do.

use std::path::PathBuf;

use add_plugin::PluginError;
use add_train::TrainError;
use miette::{Diagnostic, NamedSource, SourceSpan};

use crate::overrides::OverrideError;

/// An error of this crate.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum CoreError {
    /// The recipe cannot be read at all.
    #[error("{path}: {source}", path = path.display())]
    #[diagnostic(help("a recipe is a RON file; the shipped ones are in configs/"))]
    Unreadable {
        /// The file that was read or written.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The text is not a valid recipe.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Syntax(Box<Problem>),
    /// The recipe's values do not make sense; all problems at once.
    #[error("{path}: {} invalid value{}", problems.len(), if problems.len() == 1 { "" } else { "s" })]
    Invalid {
        /// The recipe.
        path: String,
        /// Each problem with its place.
        #[related]
        problems: Vec<Problem>,
    },
    /// An assignment cannot be applied to the recipe.
    #[error(transparent)]
    Override(#[from] OverrideError),
    /// A plugin refused.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A weights file does not fit.
    #[error("{path}: {problem}", path = path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// Expected and found, and what to do.
        problem: String,
    },
    /// Released weights cannot be had.
    #[error(transparent)]
    Released(#[from] add_weights::WeightsError),
    /// This machine lacks a device, or it cannot compute.
    #[error("device: {device}: {problem}")]
    #[diagnostic(help("`device: Flex()` computes on the processor"))]
    Device {
        /// As the recipe names it.
        device: String,
        /// What is there instead.
        problem: String,
    },
    /// A file cannot be written or read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file that was read or written.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The request does not fit the recipe.
    #[error("{0}")]
    Request(String),
    /// An argument of a request is out of range. The command line has an option of the same name.
    #[error("{name}: {problem}")]
    Argument {
        /// The argument's name.
        name: &'static str,
        /// Expected and found.
        problem: String,
    },
}

impl CoreError {
    /// Whether the user's input is at fault: exit code 2 rather than 1.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Unreadable { .. }
                | Self::Syntax(_)
                | Self::Invalid { .. }
                | Self::Override(_)
                | Self::Request(_)
                | Self::Argument { .. }
        ) || matches!(self, Self::Plugin(PluginError::Field { .. } | PluginError::Mismatch(_)))
            || matches!(self, Self::Train(TrainError::Accumulation { .. }))
    }

    /// For `map_err` on a file operation.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// A place in a recipe that cannot be used.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{place}: {message}")]
pub struct Problem {
    /// `file:line:column`.
    pub place: String,
    /// Expected and found.
    pub message: String,
    /// The recipe.
    #[source_code]
    pub text: NamedSource<String>,
    /// Where in it.
    #[label("here")]
    pub span: SourceSpan,
}
