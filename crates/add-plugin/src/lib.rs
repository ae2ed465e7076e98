//! What a plugin author needs, and nothing else: tensor newtypes, every plugin trait, the registry.
//!
//! A plugin is one struct with documented serde fields. It implements one family's trait, and
//! [`inventory::submit!`] puts it on that family's list under its own type name:
//!
//! ```ignore
//! /// `c(t) = alpha_t ^ power`.
//! #[derive(Debug, Serialize, Deserialize)]
//! #[serde(deny_unknown_fields)]
//! pub struct Exponential { power: f64 }
//!
//! impl Weighting for Exponential { … }
//! inventory::submit!(Entry::weighting::<Exponential>("Exponential", "ADD, section 3.3"));
//! ```
//!
//! In a recipe it is then a native RON variant: `weighting: Exponential(power: 1.0)`.
//!
//! Every family has two halves. The *plugin* (`Backbone`, `Head`, …) is what the recipe says: plain numbers.
//! What it builds (`Denoiser`, `Discriminator`, …) holds tensors on a device.

mod data;
mod draw;
mod error;
mod features;
mod heads;
mod metric;
mod pipeline;
mod registry;
mod sampler;
mod schedule;
mod tensors;
mod text;
mod weighting;

mod backbone;
mod codec;

pub use add_parameters::{
    DOWN, Fill, LoraConfig, Network, UP, for_each_own, fork, frozen, has_adapters, is_adapter,
    parameter_count,
};
pub use backbone::{Backbone, BackboneInfo, Denoiser, Naming};
pub use codec::{Autoencoder, Codec, LatentInfo};
pub use data::{DataSource, Dataset, Sample, Split};
pub use draw::{Draw, Purpose};
pub use erased_serde;
pub use error::{PluginError, within};
pub use features::{FeatureExtractor, FeatureNetwork};
pub use heads::{Discriminator, Head, Tangent};
pub use inventory;
pub use metric::{Labels, Measurement, Metric, MetricValue};
pub use pipeline::{Component, Content, Fields, Pipeline, Scheduler, SingleFile, fields};
pub use registry::{
    Entry, Family, FamilyList, Listing, Plugin, ReadPlugin, Registered, duplicates, listings,
};
pub use sampler::{DenoiserCall, Estimate, Sampler, SamplerContext, Start};
pub use schedule::{NoiseSchedule, Prediction, Schedule};
pub use tensors::{Latents, Logits, Pixels, Timesteps, per_sample};
pub use text::{Conditioning, TextEncoder, TextInfo, TextNetwork};
pub use weighting::{Prompt, StudentSample, Teacher, Weighting};
