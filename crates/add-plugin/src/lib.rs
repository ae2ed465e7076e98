//! What a plugin author needs, and nothing else: tensor newtypes, every plugin trait, the registry.
//!
//! A plugin is one struct with documented serde fields. It implements one family's trait, and
//! [`inventory::submit!`] puts it on that family's list under its own type name:
//!
//! ```
//! use add_plugin::{Entry, NoiseSchedule, Plugin, Weighting, inventory};
//! use serde::{Deserialize, Serialize};
//!
//! /// `c(t) = alpha_t^power`.
//! #[derive(Debug, Serialize, Deserialize)]
//! #[serde(deny_unknown_fields)]
//! pub struct Exponential {
//!     /// The exponent.
//!     power: f64,
//! }
//!
//! impl Weighting for Exponential {
//!     fn weight(&self, schedule: &NoiseSchedule, t: f64) -> f64 {
//!         schedule.alpha(t).powf(self.power)
//!     }
//! }
//!
//! inventory::submit!(Entry::weighting::<Exponential>("Exponential", "ADD, section 3.3"));
//!
//! # fn main() -> Result<(), ron::error::SpannedError> {
//! let options = ron::Options::default()
//!     .with_default_extension(ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES);
//! let plugin: Plugin<dyn Weighting> = options.from_str("Exponential(power: 2.0)")?;
//! let schedule = NoiseSchedule::from_alphas_cumprod(&[0.64]);
//! assert!((plugin.weight(&schedule, 0.0) - 0.64).abs() < 1e-12);
//! # Ok(())
//! # }
//! ```
//!
//! In a recipe it is then a native RON variant: `weighting: Exponential(power: 1.0)`.
//!
//! Every family has two halves. The *plugin* (`Backbone`, `Head`, …) is what the recipe says: plain numbers.
//! What it builds (`Denoiser`, `Discriminator`, …) holds tensors on a device.

mod conditioning;
mod data;
mod draw;
mod error;
mod features;
mod heads;
mod metric;
mod picture;
mod pipeline;
mod registry;
mod sampler;
mod schedule;
mod tensors;
mod text;
mod weighting;

mod backbone;
mod codec;
mod critic;

pub use add_parameters::{
    DOWN, Fill, LoraConfig, Network, UP, for_each_own, fork, frozen, has_adapters, is_adapter,
    parameter_count,
};
pub use backbone::{Backbone, BackboneInfo, Denoiser, Naming, feature_hooks};
pub use codec::{Autoencoder, Codec, LatentInfo, Posterior, TrainableAutoencoder};
pub use conditioning::{Conditioning, PictureSizes, SizeConditioning};
pub use critic::Critic;
pub use data::{DataSource, Dataset, Sample, Split};
pub use draw::{Draw, Purpose};
pub use erased_serde;
pub use error::{PluginError, within};
pub use features::{FeatureExtractor, FeatureNetwork};
pub use heads::{Discriminator, Head, Tangent};
pub use inventory;
pub use metric::{
    Better, Features, FeaturesWriter, Generated, Groups, Knowledge, Labels, Measurement, Metric, MetricValue,
    Needs, Output, Preparation, Reference, Statistics, View,
};
pub use picture::Picture;
pub use pipeline::{Component, Content, Fields, Release, ReleasedPipeline, Scheduler, SingleFile, fields};
pub use registry::{
    Either, Entry, Family, FamilyList, Listing, Plugin, ReadPlugin, Registered, duplicates, listings,
};
pub use sampler::{DenoiserCall, Estimate, Sampler, SamplerContext, Start};
pub use schedule::{Coefficients, NetworkTime, NoiseSchedule, Prediction, Schedule};
pub use tensors::{Latents, Logits, Pixels, Timesteps, per_sample};
pub use text::{TextEncoder, TextInfo, TextNetwork};
pub use weighting::{Prompt, StudentSample, Teacher, Weighting};
