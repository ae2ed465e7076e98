//! The part of a recipe under `objective: Add(…)`.

use add_loss::{DiffAugment, PixelReduction, R1Route, Reduction};
use add_plugin::{Codec, Critic, Either, FeatureNetwork, Head, Plugin, TextEncoder, Weighting};
use add_recipe::Model;
use add_train::{ema::Home, optimizer::AdamWConfig};
use serde::{Deserialize, Serialize};

use super::{course::Course, lambda::Lambda, step::ImageCondition};
use crate::{
    Guidance,
    student::{StudentTimesteps, Terminal},
};

/// Adversarial Diffusion Distillation, ADD Eq. (1).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// `T_student`.
    #[serde(default)]
    pub student_timesteps: StudentTimesteps,
    /// How often each student timestep is drawn, ascending; empty for equally often.
    #[serde(default)]
    pub timestep_weights: Vec<f64>,
    /// Part of the samples below the last student timestep whose input is made from what the student itself draws on the
    /// way there, as a sampler of several steps does, in place of `x_0`. The paper has none.
    #[serde(default)]
    pub backward_simulation: f64,
    /// How the last student timestep is made pure noise.
    #[serde(default)]
    pub terminal: Terminal,
    /// Part of the captions that is replaced by the empty one, for student, heads and teacher alike. The paper has none;
    /// a student that is to be sampled with guidance needs it.
    #[serde(default)]
    pub caption_dropout: f64,
    /// The frozen teacher.
    #[serde(default)]
    pub teacher: TeacherPart,
    /// The adversarial term, ADD Eq. (2) and (3).
    pub adversarial: Adversarial,
    /// The distillation term, ADD Eq. (4).
    pub distillation: Distillation,
    /// The student's optimiser.
    #[serde(default)]
    pub generator: AdamWConfig,
    /// The heads' optimiser.
    #[serde(default = "default_discriminator")]
    pub discriminator: AdamWConfig,
    /// Half-life of the student's averaged weights, in images.
    #[serde(default = "default_half_life")]
    pub ema_half_life: f64,
    /// Where that average lies.
    #[serde(default, skip_serializing_if = "Home::is_device")]
    pub ema_home: Home,
}

fn default_discriminator() -> AdamWConfig {
    AdamWConfig { lr: 1e-4, betas: (0.0, 0.99), ..AdamWConfig::default() }
}

fn default_half_life() -> f64 {
    2000.0
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
    /// Correlation of the noise `eps'` that diffuses the student's sample with the noise that the sample was made from,
    /// from 0 (drawn anew, as in the paper) to 1 (the same, as along a trajectory of the teacher's own sampling). With
    /// 0 the teacher's answer at high `t` is an average over noise, which draws all pictures of a caption together.
    pub noise_correlation: f64,
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
            noise_correlation: 0.0,
            negative: "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy".to_owned(),
        }
    }
}

/// Which model teaches.
#[derive(Debug, Serialize, Deserialize)]
pub enum TeacherModel {
    /// The model that the student starts as.
    Initial(),
    /// Another one that shares the codec and the text encoder.
    Other(Box<Model>),
    /// Another one with a codec and a text encoder of its own (ADD, Table 1e): the student's sample is decoded, encoded by the
    /// teacher's codec, diffused, denoised and decoded again, and the distance is taken between pictures.
    Pipeline(Box<TeacherPipeline>),
}

/// A teacher that shares nothing with the student.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherPipeline {
    /// Its network, process and values.
    pub model: Model,
    /// Its text encoder.
    pub text: Plugin<dyn TextEncoder>,
    /// Its codec.
    pub codec: Plugin<dyn Codec>,
}

impl TeacherModel {
    /// The teacher that has a codec and a text encoder of its own.
    pub fn pipeline(&self) -> Option<&TeacherPipeline> {
        match self {
            Self::Pipeline(pipeline) => Some(pipeline),
            Self::Initial() | Self::Other(_) => None,
        }
    }
}

/// The adversarial term.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adversarial {
    /// Its factor; 0 turns it and the discriminator off.
    #[serde(default = "one")]
    pub weight: f64,
    /// `F`: a frozen network of pictures, or the teacher's own features of noisy latents (`TeacherFeatures(…)`).
    pub features: Either<dyn FeatureNetwork, dyn Critic>,
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
    /// What gives `c_text`.
    #[serde(default, skip_serializing_if = "HeadsText::is_the_denoisers")]
    pub text_encoder: HeadsText,
    /// Whether `c_text` and `c_img` are scaled to unit length. StyleGAN-T, whose heads these are, does it; the paper does not
    /// say. Without it the longer of the two decides which condition the heads listen to: `norm_c_text` and `norm_c_img` in
    /// the metrics are their lengths.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub normalize_condition: bool,
    /// Which fakes the discriminator's update sees.
    #[serde(default, skip_serializing_if = "Fakes::are_shared")]
    pub fakes: Fakes,
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

impl Adversarial {
    /// What looks at latents in the place of a network of pictures.
    pub fn critic(&self) -> Option<&Plugin<dyn Critic>> {
        match &self.features {
            Either::First(_) => None,
            Either::Second(critic) => Some(critic),
        }
    }
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

/// The encoder of `c_text`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub enum HeadsText {
    /// The pooled embedding of the denoiser's own text encoder.
    #[default]
    Denoiser,
    /// The pooled embedding of another one, such as CLIP ViT-g-14 (ADD, section 4).
    Encoder(Plugin<dyn TextEncoder>),
}

impl HeadsText {
    /// Whether it is the denoiser's own.
    pub fn is_the_denoisers(&self) -> bool {
        matches!(self, Self::Denoiser)
    }
}

/// Which fakes the discriminator's update sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Fakes {
    /// Those that the student's update sees: one forward pass of the student serves both.
    #[default]
    Shared,
    /// Fakes of their own timesteps and noise, as StyleGAN-T draws them: a forward pass of the student more.
    Independent,
}

impl Fakes {
    /// Whether both updates see the same.
    pub fn are_shared(&self) -> bool {
        *self == Self::Shared
    }
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
    /// `lambda`, which belongs to `distance`: a number, of which 0 turns the term and the teacher off, or `Balanced(…)`.
    pub lambda: Lambda,
    /// How `lambda` changes over the run. The paper keeps it.
    #[serde(default, skip_serializing_if = "Course::is_constant")]
    pub course: Course,
    /// Reduction of the squared distance over a sample's values.
    pub distance: PixelReduction,
    /// `c(t)` and the target.
    pub weighting: Plugin<dyn Weighting>,
    /// What the distance is taken between.
    #[serde(default)]
    pub space: DistillationSpace,
}

/// What the distillation distance is taken between; the further down, the less memory and the further from the paper.
#[derive(Debug, Default, Serialize, Deserialize)]
pub enum DistillationSpace {
    /// Decoded pictures (ADD, section 3.1). A codec with `checkpointing: Blocks` takes less memory for it.
    #[default]
    Pixel,
    /// Pictures that are decoded from a square crop of the latents, at a place drawn for each sample. A sum over values is
    /// scaled to the whole, so `lambda` stays what it is.
    Crop {
        /// Side of the crop, in latent values.
        size: usize,
    },
    /// Pictures that another codec of the same latents decodes, such as `TinyVae`.
    PixelBy(Plugin<dyn Codec>),
    /// Latents are compared as they are.
    Latent,
}

impl DistillationSpace {
    /// The codec that decodes in place of the recipe's.
    pub fn codec(&self) -> Option<&Plugin<dyn Codec>> {
        match self {
            Self::PixelBy(codec) => Some(codec),
            Self::Pixel | Self::Crop { .. } | Self::Latent => None,
        }
    }
}
