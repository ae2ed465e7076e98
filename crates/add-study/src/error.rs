//! What can go wrong with a study.

use std::{io, path::PathBuf};

use add_charts::ChartError;
use add_data::DataError;
use add_eval::EvalError;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// What a study was asked to be made of does not fit together.
    #[error("{0}")]
    Request(String),
    /// A file of a study cannot be used.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Where in it, what was expected and found.
        problem: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Pictures or captions cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Ratings cannot be computed.
    #[error(transparent)]
    Ratings(#[from] EvalError),
    /// The report's chart cannot be drawn.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// The report's page cannot be put together.
    #[error("page template: {0}")]
    Template(#[from] minijinja::Error),
}

impl StudyError {
    /// For `map_err` on a file operation.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
