//! What a recipe says: every choice of a run, typed, with its default.

use std::fmt;

use add_data::Keep;
use add_plugin::{
    Backbone, Codec, DataSource, LatentInfo, LoraConfig, Plugin, Sampler, Schedule, TextEncoder,
};
use add_train::{
    process::{LatentSizes, Process},
    ranks::OptimizerStates,
    run::RunLength,
};
use add_weights::lora::Lora;
use serde::{Deserialize, Serialize};

use crate::{Dtypes, Evaluation, Kernels, Method, Weights};

/// A whole recipe.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the run; its folder is `runs/<name>`.
    pub name: String,
    /// Every random number of the run follows from it.
    #[serde(default)]
    pub seed: u64,
    /// Where the tensors live.
    #[serde(default)]
    pub device: DeviceChoice,
    /// Number type in which each network computes. Written out only where some type is not f32, so that older recipes keep their
    /// text.
    #[serde(default, skip_serializing_if = "Dtypes::are_f32")]
    pub dtype: Dtypes,
    /// How the CPU kernels compute. Written out only where it differs from the default.
    #[serde(default, skip_serializing_if = "Kernels::are_usual")]
    pub kernels: Kernels,
    /// Captioned pictures.
    pub data: Plugin<dyn DataSource>,
    /// Pixels to what the diffusion runs on.
    pub codec: Plugin<dyn Codec>,
    /// Captions to what the denoiser is conditioned on.
    pub text: Plugin<dyn TextEncoder>,
    /// The model that is trained, or sampled.
    pub model: Model,
    /// Pictures per step.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Copies of the networks that compute parts of the batch side by side, each on its share of the threads; more than one
    /// pays where the network is small. The numbers differ between counts by rounding alone.
    #[serde(default = "default_replicas")]
    pub replicas: usize,
    /// Steps over which a batch's gradients are accumulated, one after the other: the batch is cut into
    /// `gradient_accumulation * replicas` parts, and more steps take less memory. With more than one, ADD does the student's
    /// forward pass twice.
    #[serde(default = "default_gradient_accumulation")]
    pub gradient_accumulation: usize,
    /// Who keeps the optimisers' moments and the running averages where several ranks share the run. `Sharded` (ZeRO stage 1): each
    /// rank keeps its share, which takes less memory, and half as much again is sent in a step. The numbers are the same. Written out
    /// only where it is not `Replicated`.
    #[serde(default, skip_serializing_if = "OptimizerStates::are_replicated")]
    pub optimizer_states: OptimizerStates,
    /// Threads that load batches ahead of the step; with 0, each is loaded when its step comes. The numbers are the same.
    #[serde(default = "default_workers")]
    pub workers: usize,
    /// Where latents and text embeddings of frozen networks are cached, so that each is computed once. The numbers are the
    /// same.
    #[serde(default)]
    pub cache: Keep,
    /// What is learnt.
    pub objective: Plugin<dyn Method>,
    /// Run length and intervals of logging, pictures and checkpoints.
    #[serde(default)]
    pub run: RunLength,
    /// The pictures that show how far a run is.
    #[serde(default)]
    pub preview: Preview,
    /// How `sample` makes pictures unless told otherwise.
    pub sampling: Sampling,
    /// What `eval` measures.
    #[serde(default)]
    pub evaluation: Evaluation,
}

fn default_batch() -> usize {
    16
}

fn one() -> f64 {
    1.0
}

impl Recipe {
    /// In how many parts a batch is computed, side by side and one after the other, on all ranks together.
    pub fn parts(&self) -> usize {
        self.replicas * self.gradient_accumulation
    }

    /// Whether the text encoder has no weights of its own: its values belong to the model that is trained.
    pub fn text_is_the_models(&self) -> bool {
        self.text.weights().is_empty()
    }
}

fn default_replicas() -> usize {
    1
}

fn default_workers() -> usize {
    1
}

fn default_gradient_accumulation() -> usize {
    1
}

/// A device by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceChoice {
    /// The processor, through Burn's flex backend and the kernels of this project.
    Flex(),
    /// The processor, through Burn's older ndarray backend: slow, with all scores and blocks kept for the backward pass, and
    /// good for a second opinion. Not included in `cargo xtask dist` builds.
    NdArray(),
    /// An NVIDIA GPU by number; needs a binary with the feature `cuda`.
    Cuda(usize),
    /// A GPU by number, of any maker, through Vulkan, Metal or DirectX 12; needs a binary with the feature `wgpu`.
    Wgpu(usize),
    /// A GPU made of software, such as Mesa's llvmpipe, which shows on a processor what a GPU would compute; needs a binary with
    /// the feature `wgpu`, and a driver.
    WgpuSoftware(),
    /// The first of these that this binary and this machine have: `Cuda(0)`, a discrete GPU through `Wgpu`, `Flex()`.
    Auto(),
}

impl DeviceChoice {
    /// The device of the `rank`-th of several threads where the first has this one: of GPUs the next, and the processor for
    /// all.
    #[must_use]
    pub fn of_rank(self, rank: usize) -> Self {
        match self {
            Self::Flex() | Self::NdArray() | Self::WgpuSoftware() | Self::Auto() => self,
            Self::Cuda(first) => Self::Cuda(first + rank),
            Self::Wgpu(first) => Self::Wgpu(first + rank),
        }
    }
}

impl fmt::Display for DeviceChoice {
    /// As a recipe names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flex() => f.write_str("Flex()"),
            Self::NdArray() => f.write_str("NdArray()"),
            Self::Cuda(index) => write!(f, "Cuda({index})"),
            Self::Wgpu(index) => write!(f, "Wgpu({index})"),
            Self::WgpuSoftware() => f.write_str("WgpuSoftware()"),
            Self::Auto() => f.write_str("Auto()"),
        }
    }
}

impl Default for DeviceChoice {
    fn default() -> Self {
        Self::Flex()
    }
}

/// A diffusion model.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its network.
    pub backbone: Plugin<dyn Backbone>,
    /// Its forward process.
    pub schedule: Plugin<dyn Schedule>,
    /// Its values at the start.
    pub weights: Weights,
    /// A file of this project with the `text.*` of a text encoder that has no weights of its own, where they are to come
    /// from elsewhere than `weights`; relative to the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_weights: Option<String>,
    /// LoRAs that are part of its values, merged before anything else happens: `PLACE` or `PLACE:SCALE`, relative to the
    /// recipe. Those for the text encoders change them too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<Lora>,
    /// What is trained in place of its values. Written out only where it is not `Off()`.
    #[serde(default, skip_serializing_if = "Adapter::is_off")]
    pub adapter: Adapter,
}

impl Model {
    /// Its schedule, its prediction type and, over latents of this shape, what it is told of its pictures' sizes.
    pub fn diffusion(&self, latents: LatentInfo) -> Process {
        let reduction = latents.reduction;
        Process {
            schedule: self.schedule.tables(),
            prediction: self.backbone.info().prediction,
            sizes: self.backbone.sizes().map(|conditioning| LatentSizes { reduction, conditioning }),
        }
    }
}

/// What is trained in place of a model's values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Adapter {
    /// The values themselves.
    Off(),
    /// Low-rank factors beside them: less memory for gradients, moments, averages and checkpoints.
    Lora(LoraConfig),
}

impl Default for Adapter {
    fn default() -> Self {
        Self::Off()
    }
}

impl Adapter {
    /// Whether the values themselves are trained.
    pub fn is_off(&self) -> bool {
        matches!(self, Self::Off())
    }

    /// The factors, where there are some.
    pub fn lora(&self) -> Option<&LoraConfig> {
        match self {
            Self::Off() => None,
            Self::Lora(lora) => Some(lora),
        }
    }
}

/// The pictures that show how far a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preview {
    /// One column each.
    pub prompts: Vec<String>,
    /// Student steps, one row each.
    pub steps: Vec<usize>,
    /// Guidance of a model in pretraining.
    pub guidance: f64,
}

impl Default for Preview {
    fn default() -> Self {
        Self { prompts: Vec::new(), steps: vec![1, 2, 4], guidance: 3.0 }
    }
}

/// How pictures are made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// The sampler.
    pub sampler: Plugin<dyn Sampler>,
    /// Denoiser calls.
    pub steps: usize,
    /// Guidance scale; 1 is none.
    #[serde(default = "one")]
    pub guidance: f64,
    /// The model to sample when there is no run yet: a file that is shipped with the recipe.
    #[serde(default)]
    pub weights: Option<String>,
    /// LoRAs that are merged into whatever model is sampled or exported: `PLACE` or `PLACE:SCALE`, relative to the recipe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<Lora>,
    /// What becomes of a prompt with more tokens than the text encoder takes. It is not written where it is cut, as in
    /// recipes of before.
    #[serde(default, skip_serializing_if = "LongPrompt::is_cut")]
    pub long_prompt: LongPrompt,
}

/// What becomes of a prompt with more tokens than the text encoder takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LongPrompt {
    /// Its end is left out, as in training.
    #[default]
    Cut,
    /// It is encoded in windows, one after the other, as ComfyUI and A1111's web UI do.
    Chunks,
}

impl LongPrompt {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    fn is_cut(&self) -> bool {
        *self == Self::Cut
    }
}
