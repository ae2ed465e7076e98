//! The part of a recipe under `objective: Dmd2(…)`.

use add_plugin::{Head, Plugin};
use add_train::{ema::Home, optimizer::AdamWConfig};
use serde::{Deserialize, Serialize};

use crate::{
    Distilled, Guidance,
    student::{StudentTimesteps, Terminal},
};

/// Improved distribution matching distillation. Where the paper states a value, the default is that of its experiments on
/// Stable Diffusion 1.5.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dmd2 {
    /// The timesteps that the student is asked at: one for a generator of a single step, the paper's four otherwise.
    pub student_timesteps: StudentTimesteps,
    /// How often each is drawn, ascending; empty for equally often.
    pub timestep_weights: Vec<f64>,
    /// Part of the samples below the last student timestep whose input is made from what the student itself draws on the way
    /// there. The paper's is 1: no real picture is ever noised for the student.
    pub backward_simulation: f64,
    /// How the last student timestep is made pure noise.
    pub terminal: Terminal,
    /// The frozen model whose distribution is matched.
    pub teacher: Distilled,
    /// Scale of its classifier-free guidance.
    pub guidance: Guidance,
    /// Smallest and largest timestep at which the two distributions are compared, inclusive.
    pub timesteps: (usize, usize),
    /// Updates of the denoiser of fakes for each of the student's: it must know the student's distribution as it is now.
    pub updates: u64,
    /// The discriminator on the states of the denoiser of fakes; `None` trains without it, and no real picture is looked at.
    pub gan: Option<Gan>,
    /// The student's optimiser.
    pub generator: AdamWConfig,
    /// The optimiser of the denoiser of fakes and of its heads.
    pub fakes: AdamWConfig,
    /// Half-life of the student's averaged weights, in images of its own updates. The paper keeps no average.
    pub ema_half_life: f64,
    /// Where that average lies.
    #[serde(skip_serializing_if = "Home::is_device")]
    pub ema_home: Home,
}

/// The discriminator that shares the denoiser of fakes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gan {
    /// Factor of the student's adversarial loss, beside 1 for distribution matching.
    #[serde(default = "generator_weight")]
    pub weight: f64,
    /// Factor of the discriminator's loss, beside 1 for the denoising loss.
    #[serde(default = "discriminator_weight")]
    pub discriminator_weight: f64,
    /// The blocks whose states the heads read.
    #[serde(default = "bottleneck")]
    pub blocks: Vec<String>,
    /// The heads.
    pub heads: Plugin<dyn Head>,
    /// Smallest and largest timestep to which real pictures and fakes are noised for them, inclusive.
    #[serde(default = "all_timesteps")]
    pub timesteps: (usize, usize),
}

fn generator_weight() -> f64 {
    1e-3
}

fn discriminator_weight() -> f64 {
    1e-2
}

fn bottleneck() -> Vec<String> {
    vec!["mid_block".to_owned()]
}

fn all_timesteps() -> (usize, usize) {
    (0, 999)
}

impl Default for Dmd2 {
    fn default() -> Self {
        let optimizer = AdamWConfig { lr: 1e-5, weight_decay: 1e-2, ..AdamWConfig::default() };
        Self {
            student_timesteps: StudentTimesteps::Trailing(1),
            timestep_weights: Vec::new(),
            backward_simulation: 1.0,
            terminal: Terminal::default(),
            teacher: Distilled::default(),
            guidance: Guidance::Fixed(1.75),
            timesteps: (20, 980),
            updates: 10,
            gan: None,
            generator: optimizer,
            fakes: optimizer,
            ema_half_life: 2000.0,
            ema_home: Home::Device,
        }
    }
}
