//! Weights in and out: safetensors, key maps between namings, hub download, hostile-file limits.

mod error;
mod file;
mod load;
pub mod names;
mod read;
mod write;

pub use error::{Mismatch, WeightsError};
pub use file::{MAX_HEADER_BYTES, MAX_TENSORS, TensorInfo, WeightsFile};
pub use load::{Loading, Source, load_into};
pub use read::Float;
pub use write::{NamedTensor, Precision, named_tensors, save};
