//! What can go wrong with pictures and batches.

use std::path::PathBuf;

use add_plugin::PluginError;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A picture cannot be decoded, or is larger than the limits.
    #[error("cannot decode the picture: {0}")]
    Decode(String),
    /// A picture cannot be encoded.
    #[error("cannot encode the picture: {0}")]
    Encode(String),
    /// A file or folder cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("{path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A list of prompts, a folder of pictures or one of them cannot be used.
    #[error("{path}: {problem}", path = path.display())]
    List {
        /// The file or folder.
        path: PathBuf,
        /// Where in it, what was expected.
        problem: String,
    },
    /// The pictures of a grid are not alike.
    #[error("a grid needs pictures of one size: expected {expected:?}, got {got:?}")]
    GridSize {
        /// Width and height of the first picture.
        expected: (u32, u32),
        /// Width and height of the one that differs.
        got: (u32, u32),
    },
    /// A grid without pictures.
    #[error("a grid needs at least one picture and one column")]
    EmptyGrid,
    /// A split without samples.
    #[error("this split of the data has no samples")]
    Empty,
    /// Too large a part of the data cannot be used.
    #[error("{bad} of {len} samples cannot be used, more than 1%; by reason: {reasons}")]
    TooManyBad {
        /// Distinct samples that could not be used.
        bad: usize,
        /// Samples in the split.
        len: usize,
        /// `reason (count)`, joined by commas.
        reasons: String,
    },
    /// A sample's picture has another size than the first one's.
    #[error("sample {index} has {got} pixels a side, the batch {expected}")]
    SampleSize {
        /// Index in its split.
        index: usize,
        /// Side of the batch.
        expected: usize,
        /// Side of this sample.
        got: usize,
    },
    /// What holds the data fails; no sample is at fault.
    #[error("{0}")]
    Source(PluginError),
    /// A thread that loads batches is gone.
    #[error("a thread that loads batches has ended; what it said stands above")]
    Worker,
    /// No usable sample was found near an unusable one.
    #[error("sample {index} and the {tried} after it cannot be used; the last one: {problem}")]
    NoneUsable {
        /// Index in its split.
        index: usize,
        /// How many were tried.
        tried: usize,
        /// Why the last of them failed.
        problem: PluginError,
    },
}
