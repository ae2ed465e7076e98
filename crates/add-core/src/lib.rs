//! A recipe in RON, read, checked and assembled into a trainer, a sampler or an evaluator.
//!
//! [`read`](read::read) turns a file into a [`Recipe`](recipe::Recipe) whose plugins are resolved through the
//! registry; [`train`](train::train) runs it; [`sampled`](assemble::sampled) opens a model to make pictures.

pub mod assemble;
mod data_state;
pub mod device;
pub mod error;
pub mod evaluate;
pub mod export;
pub mod made_with;
pub mod many;
pub mod model_file;
pub mod outline;
mod overlay;
mod overrides;
pub mod plan;
pub mod read;
pub mod rehearsal;
pub mod request;
mod spans;
pub mod train;
mod validate;
pub mod weights;

pub use add_recipe as recipe;
