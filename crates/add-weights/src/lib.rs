//! Weights in and out: safetensors, key maps between namings, hub download, hostile-file limits.

mod arrange;
pub mod doctor;
mod error;
mod file;
mod hub;
mod load;
mod location;
pub mod names;
mod read;
mod shards;
mod write;

pub use arrange::arrange;
pub use error::{Mismatch, WeightsError};
pub use file::{MAX_HEADER_BYTES, MAX_TENSORS, TensorInfo, WeightsFile};
pub use hub::{Progress, hub_cache};
pub use load::{Loading, Source, load_into};
pub use location::{HubPlace, Location};
pub use read::Float;
pub use write::{NamedTensor, Precision, named_tensors, save, write_data};
