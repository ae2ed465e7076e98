//! What a recipe says: every choice of a run, typed, with its default.

use add_loss::{DiffAugment, PixelReduction, R1Route, Reduction};
use add_plugin::{
    Backbone, Codec, DataSource, FeatureNetwork, Head, Metric, Plugin, Sampler, Schedule, TextEncoder,
    Weighting,
};
use add_train::{
    add_step::{ImageCondition, Space, Terminal},
    optimizer::AdamWConfig,
    run::Cadence,
};
use serde::{Deserialize, Serialize};

pub use crate::weights::Weights;

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
    /// What is learnt.
    pub objective: Objective,
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

fn default_shards() -> usize {
    1
}

/// A device by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceChoice {
    /// The processor, through Burn's flex backend and the kernels of this project.
    Flex(),
    /// The processor, through Burn's older ndarray backend: slow, and good for a second opinion.
    NdArray(),
    /// An NVIDIA GPU by number; needs a binary with the feature `cuda`.
    Cuda(usize),
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
}

/// What is learnt.
#[derive(Debug, Serialize, Deserialize)]
pub enum Objective {
    /// Nothing: the recipe is for sampling a released model.
    Off(),
    /// Pretraining: the denoiser, and the text encoder with it, learn to undo noise.
    Diffusion(DiffusionObjective),
    /// Adversarial Diffusion Distillation.
    Add(Box<AddObjective>),
}

/// Pretraining.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusionObjective {
    /// Part of the captions that is replaced by the empty one, for classifier-free guidance.
    pub caption_dropout: f64,
    /// Of denoiser and text encoder.
    pub optimizer: AdamWConfig,
    /// Half-life of the averaged weights, in images.
    pub ema_half_life: f64,
}

impl Default for DiffusionObjective {
    fn default() -> Self {
        let optimizer = AdamWConfig { lr: 6e-4, weight_decay: 1e-2, ..AdamWConfig::default() };
        Self { caption_dropout: 0.1, optimizer, ema_half_life: 15_000.0 }
    }
}

/// Adversarial Diffusion Distillation, ADD Eq. (1).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddObjective {
    /// `T_student`.
    #[serde(default)]
    pub student_timesteps: StudentTimesteps,
    /// How often each student timestep is drawn, ascending; empty for equally often.
    #[serde(default)]
    pub timestep_weights: Vec<f64>,
    /// How the last student timestep is made pure noise.
    #[serde(default)]
    pub terminal: Terminal,
    /// Part of the captions that is replaced by the empty one, for student, heads and teacher alike. The paper has none;
    /// nothing but the noise tells the pictures of the empty caption apart, so the student must learn to use it.
    #[serde(default)]
    pub caption_dropout: f64,
    /// The frozen teacher.
    #[serde(default)]
    pub teacher: TeacherPart,
    /// The adversarial term, ADD Eq. (2) and (3).
    pub adversarial: Adversarial,
    /// The distillation term, ADD Eq. (4).
    pub distillation: Distillation,
    /// Of the student.
    #[serde(default)]
    pub generator: AdamWConfig,
    /// Of the heads.
    #[serde(default = "default_discriminator")]
    pub discriminator: AdamWConfig,
    /// Half-life of the student's averaged weights, in images.
    #[serde(default = "default_half_life")]
    pub ema_half_life: f64,
}

fn default_discriminator() -> AdamWConfig {
    AdamWConfig { lr: 1e-4, betas: (0.0, 0.99), ..AdamWConfig::default() }
}

fn default_half_life() -> f64 {
    2000.0
}

/// The student's timesteps, 0-based.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StudentTimesteps {
    /// `n` evenly spaced ones that end at the last: the released schedulers' trailing spacing.
    Trailing(usize),
    /// 699, 799, 899, 999: the authors' public sampling demo.
    SgmTurbo(),
    /// These, ascending.
    Custom(Vec<usize>),
}

impl Default for StudentTimesteps {
    fn default() -> Self {
        Self::Trailing(4)
    }
}

impl StudentTimesteps {
    /// The timesteps for a schedule of `steps`, ascending.
    pub fn resolve(&self, steps: usize) -> Vec<usize> {
        match self {
            Self::Trailing(n) => (1..=*n).map(|i| (i * steps / (*n).max(1)).saturating_sub(1)).collect(),
            Self::SgmTurbo() => vec![699, 799, 899, 999],
            Self::Custom(list) => list.clone(),
        }
    }
}

/// The frozen teacher.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeacherPart {
    /// Which model.
    pub model: TeacherModel,
    /// Classifier-free guidance.
    pub guidance: Guidance,
    /// Consecutive denoising steps (ADD, Table 1f).
    pub steps: usize,
    /// Smallest and largest `t`, inclusive.
    pub timesteps: (usize, usize),
    /// Which noise diffuses the student's sample.
    pub noise: TeacherNoise,
    /// What noise-free score distillation pushes away from.
    pub negative: String,
}

impl Default for TeacherPart {
    fn default() -> Self {
        Self {
            model: TeacherModel::Initial(),
            guidance: Guidance::Fixed(7.5),
            steps: 1,
            timesteps: (20, 980),
            noise: TeacherNoise::Fresh(),
            negative: "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy".to_owned(),
        }
    }
}

/// The noise `eps'` in `x_hat_theta_t = alpha_t x_hat_theta + sigma_t eps'`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TeacherNoise {
    /// Drawn anew, as in the paper. At high `t` the teacher's answer is then an average over noise, which draws the
    /// student's pictures of one caption together.
    Fresh(),
    /// The noise that the student's sample was made from, as along a trajectory of the teacher's own sampling: the
    /// answer differs with the noise, and so do the student's pictures.
    Students(),
}

/// Which model teaches.
#[derive(Debug, Serialize, Deserialize)]
pub enum TeacherModel {
    /// The model that the student starts as.
    Initial(),
    /// Another one that shares the codec and the text encoder.
    Other(Model),
}

/// Scale of classifier-free guidance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Guidance {
    /// The same for every sample.
    Fixed(f64),
    /// Uniform between the two, drawn per sample.
    Uniform(f64, f64),
}

/// The adversarial term.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adversarial {
    /// Its factor; 0 turns it and the discriminator off.
    #[serde(default = "one")]
    pub weight: f64,
    /// `F`.
    pub features: Plugin<dyn FeatureNetwork>,
    /// `D_phi,k`.
    pub heads: Plugin<dyn Head>,
    /// Reduction over the heads: the paper sums.
    #[serde(default = "mean_heads")]
    pub reduction: Reduction,
    /// How R1 is computed.
    #[serde(default = "tangent")]
    pub r1: R1Route,
    /// `gamma`.
    #[serde(default = "default_gamma")]
    pub gamma: f64,
    /// Whether the heads see `c_text`.
    #[serde(default = "yes")]
    pub text_condition: bool,
    /// Whether the heads see `c_img`.
    #[serde(default = "where_informed")]
    pub image_condition: ImageCondition,
    /// What gives `c_img`.
    #[serde(default)]
    pub image_encoder: ImageEncoder,
    /// How pictures are augmented before `F`.
    #[serde(default)]
    pub augment: DiffAugment,
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

fn mean_heads() -> Reduction {
    Reduction::Mean
}

fn tangent() -> R1Route {
    R1Route::Tangent
}

fn default_gamma() -> f64 {
    1e-5
}

fn where_informed() -> ImageCondition {
    ImageCondition::WhereInformed
}

/// The network of `c_img`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub enum ImageEncoder {
    /// `F` itself.
    #[default]
    Features,
    /// Another one.
    Network(Plugin<dyn FeatureNetwork>),
}

/// The distillation term.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distillation {
    /// `lambda`, which belongs to `distance`; 0 turns the term and the teacher off.
    pub lambda: f64,
    /// Reduction of the squared distance over a sample's values.
    pub distance: PixelReduction,
    /// `c(t)` and the target.
    pub weighting: Plugin<dyn Weighting>,
    /// Between decoded pictures, or between latents.
    #[serde(default = "pixel_space")]
    pub space: Space,
}

fn pixel_space() -> Space {
    Space::Pixel
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
