//! Why a fixture cannot be compared.

use std::{io, path::PathBuf};

use add_eval::EvalError;
use add_nn::config::ConfigError;
use add_plugin::PluginError;
use add_train::TrainError;
use add_weights::WeightsError;

/// Every failure of this crate; inside a fixture it becomes a failed row.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is nothing to compare.
    #[error("{path} holds no fixture: expected files such as unet/NAME.io.safetensors")]
    NoFixture {
        /// The folder that was searched.
        path: PathBuf,
    },
    /// A file of the fixture is not there.
    #[error("{0} is missing")]
    MissingFile(String),
    /// A file of the fixture is not the JSON that it should be.
    #[error("{file}: {source}")]
    Json {
        /// The file's name.
        file: String,
        /// Place and reason.
        source: serde_json::Error,
    },
    /// A file or a tensor of the fixture holds something else than its format says.
    #[error("{what}: expected {expected}, got {got}")]
    Content {
        /// The field or the tensor.
        what: String,
        /// What the comparison needs.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A file of tensors is damaged or does not fit the network.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The configuration describes no network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A plugin refused its fields.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A training run could not be set up.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A metric refused its inputs.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl ParityError {
    /// For a field or a tensor that holds something else than it should.
    pub(crate) fn content(what: &str, expected: impl ToString, got: impl ToString) -> Self {
        Self::Content { what: what.to_owned(), expected: expected.to_string(), got: got.to_string() }
    }
}
