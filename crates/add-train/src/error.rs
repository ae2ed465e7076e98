//! What can go wrong while training.

use std::path::PathBuf;

use add_plugin::PluginError;

/// An error of a run.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A plugin refused.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A snapshot lacks something.
    #[error("the checkpoint does not fit this recipe:\n{0}")]
    Missing(String),
    /// A checkpoint is damaged or foreign.
    #[error("{path}: {problem}", path = path.display())]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// Expected and found.
        problem: String,
    },
    /// A run that is to begin has begun before.
    #[error("{path}: this run has checkpoints; continue it, or choose another folder", path = path.display())]
    Begun {
        /// The folder of its checkpoints.
        path: PathBuf,
    },
    /// A run that is to continue has not begun.
    #[error("{path}: no checkpoint to resume from", path = path.display())]
    NotBegun {
        /// Where its checkpoints would be.
        path: PathBuf,
    },
    /// A file cannot be written or read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Loss or gradient stayed non-finite.
    #[error(
        "step {step}: {what} was not finite {times} times in a row; nothing was applied, the last checkpoint is good"
    )]
    NonFinite {
        /// 0-based step.
        step: u64,
        /// Which number.
        what: &'static str,
        /// How often.
        times: u32,
    },
    /// The system gives no threads.
    #[error("the threads for `replicas` could not be started: {0}; try `replicas: 1`")]
    Threads(String),
    /// The ranks cannot share a recipe's accumulation steps.
    #[error(
        "expected `gradient_accumulation` to be a multiple of the {ranks} ranks, got {accumulation}; try \
         `gradient_accumulation: {ranks}`, which cuts the batch into that many times `replicas` parts"
    )]
    Accumulation {
        /// The recipe's `gradient_accumulation`.
        accumulation: usize,
        /// Number of ranks.
        ranks: usize,
    },
    /// The ranks of a run do not have the same.
    #[error(
        "rank {rank}: expected {what} {expected}, as on rank 0, found {found}; start every rank with the same program, \
         recipe and files"
    )]
    Ranks {
        /// The first that differs.
        rank: usize,
        /// What differs.
        what: String,
        /// On the first rank.
        expected: String,
        /// On this one.
        found: String,
    },
    /// Another process works on this run.
    #[error("{path}: process {pid} is working on this run; stop it or choose another folder", path = path.display())]
    Locked {
        /// The run folder.
        path: PathBuf,
        /// The other process.
        pid: u32,
    },
}

impl TrainError {
    /// For `map_err` on a file operation.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
