//! A recipe in RON, read, checked and assembled into a trainer, a sampler or an evaluator.
//!
//! [`read`](read::read) turns a file into a [`Recipe`](recipe::Recipe) whose plugins are resolved through the
//! registry; [`train`](train::train) runs it; [`sampled`](assemble::sampled) opens a model to make pictures.

mod adapters;
pub mod assemble;
mod caption_dropout;
mod data_state;
pub mod device;
mod dtype;
mod encodings;
pub mod error;
pub mod evaluate;
pub mod export;
pub mod model_file;
mod objective_add;
mod objective_diffusion;
pub mod outline;
mod overrides;
pub mod plan;
mod preview;
mod prompts;
pub mod read;
pub mod recipe;
pub mod rehearsal;
pub mod sampled;
mod spans;
pub mod train;
mod validate;
pub mod weights;

use add_data::DataError;
use add_plugin::PluginError;
use add_train::TrainError;

/// A failure of the data as a failure of the run.
fn data_error(error: DataError) -> TrainError {
    TrainError::Plugin(PluginError::Mismatch(format!("data: {error}")))
}
