//! What a recipe says, and the family [`Method`]: what a run learns, and with which networks.
//!
//! A training method is a plugin. This crate holds what its author needs beside the networks and equations: the recipe
//! around it, the list of its networks ([`Slot`]), what a step costs ([`Passes`]), and the parts that runs are made of
//! (encodings of frozen networks, adapters, computing in bf16, pictures of how far a run is).

pub mod adapters;
mod beginning;
mod caption_dropout;
mod dimensions;
mod dtype;
mod encodings;
mod evaluation;
pub mod in_bf16;
mod kernels;
mod method;
pub mod passes;
mod places;
pub mod preview;
pub mod problems;
mod prompts;
mod recipe;
mod sampled;
pub mod slot;
mod text;
mod weights;

use add_data::DataError;
use add_plugin::PluginError;
use add_train::TrainError;
pub use add_train::ranks::OptimizerStates;
pub use beginning::{Beginning, Mask};
pub use caption_dropout::caption_dropout;
pub use dimensions::Dimensions;
pub use dtype::{Dtype, Dtypes};
pub use encodings::Encodings;
pub use evaluation::{EvaluatedModel, Evaluation, EvaluationRow, ReleasedModel, RowModel};
pub use kernels::Kernels;
pub use method::{
    AnyMethod, CODEC_PREFIX, Method, MethodEntry, MethodRun, NamedModel, Product, RunContext, method,
};
pub use passes::Passes;
pub use places::without_places;
pub use problems::Problems;
pub use recipe::{Adapter, DeviceChoice, LongPrompt, Model, Preview, Recipe, Sampling};
pub use sampled::{PIXELS_PER_PASS, SampleBatch, SampleRequest, SampledModel, guidance_scale, latents_shape};
pub use slot::{Condition, Hooks, Slot, Source};
pub use text::{map_texts, one_line, options, show};
pub use weights::Weights;

/// A failure of the data as a failure of the run.
pub fn data_error(error: DataError) -> TrainError {
    TrainError::Plugin(PluginError::Mismatch(format!("data: {error}")))
}
