//! The part of a recipe under `objective: Autoencoder(…)`.

use add_loss::Reduction;
use add_plugin::{FeatureNetwork, Head, Plugin};
use add_train::{ema::Home, optimizer::AdamWConfig};
use serde::{Deserialize, Serialize};

/// Training of the recipe's codec. The absolute distance of pictures and reconstructions has the weight 1; that of every
/// other term is beside it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Autoencoder {
    /// The frozen network whose features the perceptual distance and the heads are about.
    pub features: Plugin<dyn FeatureNetwork>,
    /// Weight of the perceptual distance.
    #[serde(default = "default_perceptual")]
    pub perceptual_weight: f64,
    /// Weight of the divergence of the latents' distribution from the standard normal one. Both are means over values here,
    /// where the paper's code has sums over a picture's: its 1e-6 is this weight times latent values over pixel values.
    #[serde(default = "default_kl")]
    pub kl_weight: f64,
    /// The adversarial term.
    pub adversarial: PatchAdversarial,
    /// The codec's optimiser.
    #[serde(default = "default_generator")]
    pub generator: AdamWConfig,
    /// The heads' optimiser.
    #[serde(default = "default_discriminator")]
    pub discriminator: AdamWConfig,
    /// Half-life of the codec's averaged weights, in images.
    #[serde(default = "default_half_life")]
    pub ema_half_life: f64,
    /// Where that average lies.
    #[serde(default, skip_serializing_if = "Home::is_device")]
    pub ema_home: Home,
}

/// The adversarial term: heads on the frozen features say of each place, and so of a patch of the picture, whether it is real.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchAdversarial {
    /// The heads.
    pub heads: Plugin<dyn Head>,
    /// Its weight; 0 leaves it and the heads out.
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// The step from which on heads and term are there: of pictures that are still blurred, heads learn nothing but that.
    #[serde(default)]
    pub from: u64,
    /// Reduction of the hinge losses over heads.
    #[serde(default)]
    pub reduction: Reduction,
}

fn default_perceptual() -> f64 {
    1.0
}

fn default_kl() -> f64 {
    1e-4
}

fn default_weight() -> f64 {
    0.1
}

fn default_generator() -> AdamWConfig {
    AdamWConfig { lr: 1e-3, weight_decay: 0.0, warm_up: 100, ..AdamWConfig::default() }
}

fn default_discriminator() -> AdamWConfig {
    AdamWConfig { lr: 2e-4, betas: (0.0, 0.99), warm_up: 0, ..AdamWConfig::default() }
}

fn default_half_life() -> f64 {
    2000.0
}
