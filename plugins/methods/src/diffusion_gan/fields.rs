//! The part of a recipe under `objective: DiffusionGan(…)`.

use add_plugin::{Head, Plugin};
use add_train::{ema::Home, optimizer::AdamWConfig};
use serde::{Deserialize, Serialize};

use crate::{
    Distilled,
    student::{StudentTimesteps, Terminal},
};

/// A diffusion GAN (UFOGen): the student jumps from noise to a picture, which is noised again to where one jump down ends and
/// judged there by a denoiser that is trained as a discriminator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffusionGan {
    /// The timesteps that the student jumps from, each down to the one before it and from the lowest to the clean end. The paper
    /// trains with four and samples in one.
    #[serde(default)]
    pub student_timesteps: StudentTimesteps,
    /// How often each is drawn, ascending; empty for equally often.
    #[serde(default)]
    pub timestep_weights: Vec<f64>,
    /// How the last student timestep is made pure noise.
    #[serde(default)]
    pub terminal: Terminal,
    /// `lambda_KL`, the factor of the reconstruction term.
    #[serde(default = "one")]
    pub reconstruction: f64,
    /// The discriminator.
    pub discriminator: DiscriminatorPart,
    /// The student's optimiser.
    #[serde(default)]
    pub generator: AdamWConfig,
    /// Half-life of the student's averaged weights, in images.
    #[serde(default = "default_half_life")]
    pub ema_half_life: f64,
    /// Where that average lies.
    #[serde(default, skip_serializing_if = "Home::is_device")]
    pub ema_home: Home,
}

/// A denoiser with heads that tells real latents from fakes at every level of noise.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscriminatorPart {
    /// What it begins as.
    #[serde(default)]
    pub model: Distilled,
    /// The blocks whose states the heads read.
    pub blocks: Vec<String>,
    /// The heads.
    pub heads: Plugin<dyn Head>,
    /// The optimiser of both.
    #[serde(default)]
    pub optimizer: AdamWConfig,
}

fn one() -> f64 {
    1.0
}

fn default_half_life() -> f64 {
    2000.0
}
