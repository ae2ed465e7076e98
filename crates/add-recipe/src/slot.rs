//! The networks of a method, each stated once.
//!
//! From one list of [`Slot`]s follow what is fetched, assembled, counted (`--dry-run`), planned, rehearsed, saved and resumed.

use add_plugin::{Codec, FeatureNetwork, Head, LoraConfig, Plugin, TextEncoder};
use add_train::networks::{Change, Role, Training};

use crate::{Dtype, Model, Recipe};

/// The model that is pretrained or sampled.
pub const DENOISER: Role = Role("denoiser");
/// The model that is distilled into.
pub const STUDENT: Role = Role("student");
/// Captions to what the denoiser is conditioned on.
pub const TEXT: Role = Role("text encoder");
/// The model that is distilled.
pub const TEACHER: Role = Role("teacher");
/// What the heads look through.
pub const FEATURES: Role = Role("feature network");
/// The discriminator.
pub const HEADS: Role = Role("heads");
/// The network of `c_img`.
pub const IMAGE_ENCODER: Role = Role("image encoder");
/// Pixels to latents and back.
pub const CODEC: Role = Role("codec");
/// What decodes for the distillation loss in the codec's place.
pub const DISTILLATION_CODEC: Role = Role("distillation codec");
/// What is trained of a network beside values that stay as they are.
pub const ADAPTERS: Role = Role("adapters");

/// One network of a run.
#[derive(Debug)]
pub struct Slot<'a> {
    /// What it is in the run.
    pub role: Role,
    /// What it is made of.
    pub source: Source<'a>,
    /// Whether and how the run changes its values.
    pub change: Change,
    /// Low-rank factors that are trained in place of its values.
    pub adapter: Option<&'a LoraConfig>,
    /// What it computes in, and is held in where it is frozen.
    pub dtype: Dtype,
}

/// What a network is made of.
#[derive(Debug, Clone)]
pub enum Source<'a> {
    /// A denoiser with the values that its model states.
    Model {
        /// Architecture, process and values.
        model: &'a Model,
        /// The encoder whose token states it attends to.
        text: &'a Plugin<dyn TextEncoder>,
        /// What makes its latents.
        codec: &'a Plugin<dyn Codec>,
    },
    /// The denoiser of this role as it is before the first step, frozen.
    BeginningOf(Role),
    /// A text encoder. Where it has no weights of its own, its values are in its model's file.
    Text {
        /// The encoder.
        encoder: &'a Plugin<dyn TextEncoder>,
        /// The model that it belongs to.
        model: &'a Model,
    },
    /// A codec.
    Codec(&'a Plugin<dyn Codec>),
    /// A feature network.
    Features(&'a Plugin<dyn FeatureNetwork>),
    /// Discriminator heads, one for each hook of the network that they look through.
    Heads {
        /// Their architecture.
        heads: &'a Plugin<dyn Head>,
        /// What they read.
        on: Hooks,
        /// What they are conditioned on: vectors behind one another.
        condition: Vec<Condition>,
    },
}

/// What heads read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hooks {
    /// Every hook of the feature network of this role.
    Network(Role),
    /// Blocks of the denoiser of this role, by name and channels.
    Blocks(Role, Vec<(String, usize)>),
}

/// A vector that heads are conditioned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The pooled embedding of the text encoder of this role.
    Pooled(Role),
    /// The embedding of the feature network of this role.
    Embedding(Role),
}

impl<'a> Slot<'a> {
    /// A network that stays as it is.
    pub fn frozen(role: Role, source: Source<'a>, dtype: Dtype) -> Self {
        Self { role, source, change: Change::Frozen, adapter: None, dtype }
    }

    /// A network that an optimiser moves.
    pub fn trained(role: Role, source: Source<'a>, training: Training, dtype: Dtype) -> Self {
        Self { role, source, change: Change::Trained(training), adapter: None, dtype }
    }
}

/// The recipe's model.
pub fn model_of(recipe: &Recipe) -> Source<'_> {
    Source::Model { model: &recipe.model, text: &recipe.text, codec: &recipe.codec }
}

/// The recipe's text encoder.
pub fn text_of(recipe: &Recipe) -> Source<'_> {
    Source::Text { encoder: &recipe.text, model: &recipe.model }
}

/// The recipe's text encoder and codec, frozen.
pub fn frozen_text_and_codec(recipe: &Recipe) -> [Slot<'_>; 2] {
    [
        Slot::frozen(TEXT, text_of(recipe), recipe.dtype.text),
        Slot::frozen(CODEC, Source::Codec(&recipe.codec), recipe.dtype.codec),
    ]
}

/// What sampling the recipe's model takes.
pub fn sampling_slots(recipe: &Recipe) -> Vec<Slot<'_>> {
    let denoiser = Slot::frozen(DENOISER, model_of(recipe), recipe.dtype.model);
    std::iter::once(denoiser).chain(frozen_text_and_codec(recipe)).collect()
}
