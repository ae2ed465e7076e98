//! Weights in and out: safetensors, key maps between namings, hub download, hostile-file limits.

mod arrange;
mod beginning;
pub mod doctor;
mod error;
mod file;
mod hub;
mod hub_place;
mod limits;
mod load;
mod location;
pub mod lora;
pub mod names;
mod pickle;
mod pytorch;
mod read;
mod shards;
mod source;
pub mod stated;
mod variants;
mod write;
mod write_shards;

pub use arrange::arrange;
pub use error::{Mismatch, WeightsError};
pub use file::{TensorInfo, WeightsFile};
pub use hub::Progress;
pub use hub_place::HubPlace;
pub use limits::{MAX_HEADER_BYTES, MAX_TENSORS};
pub use load::{Loading, load_into};
pub use location::{Location, beside};
pub use read::Float;
pub use source::Source;
pub use write::{NamedTensor, Precision, named_tensors, save, save_each, write_data};
pub use write_shards::{MAX_SHARD_BYTES, save_shards};
