//! What can go wrong.

use std::{io, path::PathBuf};

use add_core::error::CoreError;
use add_data::DataError;
use add_plugin::PluginError;

/// An error of this program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// No bench has such a name.
    #[error("no bench is called `{name}`; the names: {names}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// All names, with commas between.
        names: String,
    },
    /// A process cannot be started.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// Its program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// A process ended, or answered with something else than was asked.
    #[error("{who} failed: expected {expected}, found {found:?}; its own words are above")]
    Answer {
        /// The process.
        who: String,
        /// What it should have said.
        expected: &'static str,
        /// What it said.
        found: String,
    },
    /// The other library is not there.
    #[error("{0}")]
    NoPeer(String),
    /// A file cannot be written.
    #[error("{path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Pictures that were made here cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Their shards cannot be opened.
    #[error(transparent)]
    Source(#[from] PluginError),
    /// The emoji recipe cannot be run.
    #[error(transparent)]
    Core(#[from] CoreError),
}
