//! What can be wrong with a file of weights.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Where repositories are, unless the environment names a mirror.
pub(crate) const HUB: &str = "https://huggingface.co";

/// Every failure of this crate, with the file it is about.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The header or the offsets are damaged, or beyond the limits.
    #[error("{path} is not a usable safetensors file: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// A file of PyTorch's that holds something else than tensors, or is damaged.
    #[error("{path} is no PyTorch file of tensors alone: {reason}")]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A LoRA or one of its kind that cannot be applied whole.
    #[error("{path}: {problem}")]
    Lora {
        /// The file.
        path: PathBuf,
        /// What of it finds no place.
        problem: String,
    },
    /// A tensor that was asked for is not in the file.
    #[error("{path} holds no tensor `{name}`")]
    NoSuchTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor's number type cannot serve.
    #[error("{path}, tensor `{name}`: expected {expected}, found {found}")]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The types that would serve.
        expected: &'static str,
        /// The type in the file.
        found: String,
    },
    /// A NaN or an infinity.
    #[error("{path}, tensor `{name}`: value {index} is {value}, expected a finite number")]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Position among the tensor's values.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A text that names no place.
    #[error("{text:?} is not a valid weights location: {reason}")]
    Location {
        /// What was said.
        text: String,
        /// What was expected.
        reason: String,
    },
    /// A local file that is not there.
    #[error("{path} is not there{also}", path = path.display(), also = also(or))]
    Missing {
        /// The file.
        path: PathBuf,
        /// What would have served, with commas between; empty for nothing.
        or: String,
    },
    /// A repository of the hub without a file.
    #[error("{place} is not on the hub{also}", also = also(or))]
    NotOnHub {
        /// The file as `hf://...`.
        place: String,
        /// What would have served, with commas between; empty for nothing.
        or: String,
    },
    /// A file of the hub that is neither in the cache nor to be had.
    #[error("{place} is not on this machine, and {reason}; {}", by_hand(repository, file, cache))]
    Hub {
        /// The file as `hf://...`.
        place: String,
        /// Why it cannot be fetched.
        reason: String,
        /// `owner/name`.
        repository: String,
        /// The file's path in the repository.
        file: String,
        /// The folder of the cache.
        cache: PathBuf,
    },
    /// The file does not fit the network.
    #[error("{path} does not fit the network: {mismatch}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// All differences.
        mismatch: Mismatch,
    },
}

/// The end of a message about a missing file.
fn also(or: &str) -> String {
    if or.is_empty() { String::new() } else { format!(", nor is {or}") }
}

/// How a person provides a file, for the end of an error.
fn by_hand(repository: &str, file: &str, cache: &Path) -> String {
    format!(
        "to provide it by hand: where there is a network, `hf download {repository} {file}` fills the cache (HF_HOME), which can be copied to {}; \
         or download it from {HUB}/{repository} and let the recipe name the local file or folder instead of hf://...",
        cache.display()
    )
}

/// All differences between the tensors of a file and the parameters of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Names that the network needs and the file lacks.
    pub missing: Vec<String>,
    /// Names in the file that the network has no place for.
    pub unexpected: Vec<String>,
    /// Name, the network's shape, the file's shape.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Mismatch {
    /// Whether everything fits.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshaped.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// As many of each kind as a reader wants to see.
        const SHOWN: usize = 8;
        let names = |f: &mut fmt::Formatter<'_>, kind: &str, all: &[String]| {
            if all.is_empty() {
                return Ok(());
            }
            let more = if all.len() > SHOWN { ", ..." } else { "" };
            write!(f, "\n  {} {kind}: {}{more}", all.len(), all[..all.len().min(SHOWN)].join(", "))
        };
        names(f, "missing", &self.missing)?;
        names(f, "unexpected", &self.unexpected)?;
        let shapes =
            self.misshaped.iter().map(|(n, want, got)| format!("{n} expected {want:?} found {got:?}"));
        names(f, "mis-shaped", &shapes.collect::<Vec<_>>())
    }
}
