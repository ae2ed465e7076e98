//! The part of a recipe under `objective: Progressive(…)`.

use add_loss::SnrWeighting;
use add_train::{ema::Home, optimizer::AdamWConfig};
use serde::{Deserialize, Serialize};

use crate::Guidance;

/// Guided progressive distillation: a student absorbs the guidance of the model, and students of students halve the number of
/// sampling steps. Meng et al. 2023; Salimans and Ho 2022.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progressive {
    /// The first stage, whose student learns the guided estimate of the model (Meng et al., stage one); `None` for a model
    /// that is sampled without guidance.
    #[serde(default)]
    pub guidance: Option<GuidanceStage>,
    /// The stages that halve the number of sampling steps (stage two).
    pub halving: Halving,
    /// Weight of the distance between two estimates of a clean sample.
    #[serde(default)]
    pub weighting: SnrWeighting,
    /// The student's optimiser, which starts anew in each stage. Within a stage the learning rate falls from `lr` to zero along a
    /// line.
    #[serde(default = "default_optimizer")]
    pub optimizer: AdamWConfig,
    /// Half-life of the student's averaged weights, in images. The average is what becomes the next stage's teacher.
    #[serde(default = "default_half_life")]
    pub ema_half_life: f64,
    /// Where that average lies.
    #[serde(default, skip_serializing_if = "Home::is_device")]
    pub ema_home: Home,
}

impl Progressive {
    /// These halvings, everything else by default.
    pub fn new(halving: Halving) -> Self {
        Self {
            guidance: None,
            halving,
            weighting: SnrWeighting::default(),
            optimizer: default_optimizer(),
            ema_half_life: default_half_life(),
            ema_home: Home::Device,
        }
    }
}

/// The stage that absorbs classifier-free guidance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuidanceStage {
    /// Training steps.
    pub steps: u64,
    /// Guidance scale, 1 for none: `1 + w` of the paper's `w`. A range needs a backbone that is told its guidance scale.
    pub scale: Guidance,
}

/// The stages that halve the number of sampling steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halving {
    /// Sampling steps of the first teacher: `to` times a power of two.
    pub from: usize,
    /// Sampling steps of the last student.
    pub to: usize,
    /// Training steps of a halving.
    pub steps: u64,
    /// Training steps of the halvings to 2 and to 1 sampling steps, to which the paper gives twice as many; `None` for
    /// `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_steps: Option<u64>,
}

fn default_optimizer() -> AdamWConfig {
    AdamWConfig { lr: 1e-4, weight_decay: 0.0, warm_up: 0, ..AdamWConfig::default() }
}

fn default_half_life() -> f64 {
    2000.0
}
