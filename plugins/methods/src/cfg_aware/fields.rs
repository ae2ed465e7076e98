//! The part of a recipe under `objective: CfgAware(…)`.

use add_loss::SnrWeighting;
use add_train::{ema::Home, optimizer::AdamWConfig};
use serde::{Deserialize, Serialize};

use crate::{Guidance, progressive::Halving};

/// Step distillation that knows of classifier-free guidance (SnapFusion): the student, guided, learns to make in one step what its
/// guided teacher makes in two, and is sampled with guidance like its teacher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CfgAware {
    /// The stages, each of which halves the number of sampling steps.
    pub halving: Halving,
    /// Scale of guidance of both, drawn for each sample of a guided step.
    #[serde(default = "default_guidance")]
    pub guidance: Guidance,
    /// The chance that a step compares guided outputs; the others compare the outputs with the text alone.
    #[serde(default = "default_probability")]
    pub cfg_probability: f64,
    /// `gamma`, the factor of the loss with which the model was pretrained, at the same timesteps.
    #[serde(default = "default_original")]
    pub original: f64,
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

fn default_guidance() -> Guidance {
    Guidance::Uniform(2.0, 14.0)
}

fn default_probability() -> f64 {
    0.1
}

fn default_original() -> f64 {
    1.0
}

fn default_optimizer() -> AdamWConfig {
    AdamWConfig { lr: 1e-4, weight_decay: 0.0, warm_up: 0, ..AdamWConfig::default() }
}

fn default_half_life() -> f64 {
    2000.0
}
