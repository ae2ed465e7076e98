//! What a recipe says: every choice of a run, typed, with its default.

use add_data::Keep;
use add_plugin::{Backbone, Codec, DataSource, LoraConfig, Metric, Plugin, Sampler, Schedule, TextEncoder};
use add_train::{model::Diffusion, run::Cadence};
use serde::{Deserialize, Serialize};

use crate::{Dtypes, Method, Weights};

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
    /// In which type each network computes. It is not written where all is f32, as in recipes of before.
    #[serde(default, skip_serializing_if = "Dtypes::are_f32")]
    pub dtype: Dtypes,
    /// Captioned pictures.
    pub data: Plugin<dyn DataSource>,
    /// Pixels to what the diffusion runs on.
    pub codec: Plugin<dyn Codec>,
    /// Captions to what the denoiser is conditioned on.
    pub text: Plugin<dyn TextEncoder>,
    /// What is trained, or sampled.
    pub model: Model,
    /// Pictures per step.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Parts of the batch that are computed side by side, each on its share of the threads; more than one pays where
    /// the network is small. The numbers differ between counts by rounding alone.
    #[serde(default = "default_shards")]
    pub shards: usize,
    /// Rounds in which those parts are computed, one after the other: the batch is cut into `rounds * shards` parts, and
    /// more rounds take less memory. With more than one, the student's forward pass is done twice.
    #[serde(default = "default_rounds")]
    pub rounds: usize,
    /// Threads that load batches ahead of the step; with 0, each is loaded when its step comes. The numbers are the same.
    #[serde(default = "default_workers")]
    pub workers: usize,
    /// Where latents and encoded captions of networks that stay as they are are kept, so that each is computed once. The
    /// numbers are the same.
    #[serde(default)]
    pub cache: Keep,
    /// What is learnt.
    pub objective: Plugin<dyn Method>,
    /// How long and how often.
    #[serde(default)]
    pub run: Cadence,
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
        self.shards * self.rounds
    }

    /// Whether the text encoder has no weights of its own: its values belong to the model that is trained.
    pub fn text_is_the_models(&self) -> bool {
        self.text.weights().is_empty()
    }
}

fn default_shards() -> usize {
    1
}

fn default_workers() -> usize {
    1
}

fn default_rounds() -> usize {
    1
}

/// A device by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceChoice {
    /// The processor, through Burn's flex backend and the kernels of this project.
    Flex(),
    /// The processor, through Burn's older ndarray backend: slow, with all scores and blocks kept for the backward pass, and
    /// good for a second opinion. The binary of `cargo xtask dist` has it not.
    NdArray(),
    /// An NVIDIA GPU by number; needs a binary with the feature `cuda`.
    Cuda(usize),
    /// A GPU by number, through Vulkan; needs a binary with the feature `vulkan`.
    Vulkan(usize),
}

impl DeviceChoice {
    /// The device of the `rank`-th of several threads where the first has this one: of GPUs the next, and the processor for
    /// all.
    #[must_use]
    pub fn of_rank(self, rank: usize) -> Self {
        match self {
            Self::Flex() | Self::NdArray() => self,
            Self::Cuda(first) => Self::Cuda(first + rank),
            Self::Vulkan(first) => Self::Vulkan(first + rank),
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
    /// What is trained in place of its values. It is not written where it is off, as in recipes of before.
    #[serde(default, skip_serializing_if = "Adapter::is_off")]
    pub adapter: Adapter,
}

impl Model {
    /// Its schedule and prediction type.
    pub fn diffusion(&self) -> Diffusion {
        Diffusion { schedule: self.schedule.tables(), prediction: self.backbone.info().prediction }
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

/// What `eval` measures.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluation {
    /// What is measured.
    pub metrics: Vec<Plugin<dyn Metric>>,
    /// Models, samplers and step counts; one row of the table each.
    pub rows: Vec<EvaluationRow>,
    /// Pictures per row.
    pub samples: usize,
    /// Pictures per row right after training; 0 leaves it out.
    pub samples_after_training: usize,
}

/// One row of the evaluation table.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRow {
    /// Which model.
    pub model: EvaluatedModel,
    /// Its sampler.
    pub sampler: Plugin<dyn Sampler>,
    /// Denoiser calls.
    pub steps: usize,
    /// Guidance scale.
    #[serde(default = "one")]
    pub guidance: f64,
    /// Whether the row is also measured right after training.
    #[serde(default)]
    pub after_training: bool,
}

/// Which model a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EvaluatedModel {
    /// The run's averaged student.
    Student,
    /// The student before its first step.
    Undistilled,
    /// The teacher.
    Teacher,
}

impl EvaluatedModel {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Student => "student",
            Self::Undistilled => "undistilled",
            Self::Teacher => "teacher",
        }
    }
}
