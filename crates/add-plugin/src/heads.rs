//! Family `Head`: the trainable discriminator heads on frozen features.

use burn::tensor::{Device, Tensor};

use crate::{Logits, Network, PluginError, registry::Family};

/// Discriminator heads, as the recipe states them.
pub trait Head: Family {
    /// One head for each of `feature_channels`, conditioned on a vector of `condition_width` (0: unconditional).
    ///
    /// # Errors
    /// When the widths do not fit the head.
    fn init(
        &self,
        feature_channels: &[usize],
        condition_width: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Box<dyn Discriminator>, PluginError>;
}

/// The heads on a device.
pub trait Discriminator: Network {
    /// What must happen once before each forward pass in training: one power iteration of the spectral norms.
    fn power_iterate(&mut self);

    /// One `[B, N]` per head from features `[B, C, N]`, with `condition: [B, K]`.
    fn logits(&self, features: &[Tensor<3>], condition: Option<Tensor<2>>) -> Vec<Logits>;

    /// Logits and their directional derivatives along `tangents`, when the heads can state them.
    fn tangent(
        &self,
        features: &[Tensor<3>],
        tangents: &[Tensor<3>],
        condition: Option<Tensor<2>>,
    ) -> Option<Vec<Tangent>>;

    /// Whether a batch of this size can be normalised.
    ///
    /// # Errors
    /// Says which batch sizes fit.
    fn check_batch(&self, batch: usize) -> Result<(), PluginError>;

    /// A constant copy on the plain device that shares the numbers.
    fn frozen(&self) -> Box<dyn Discriminator>;
}

/// A head's logits and their derivative along a direction of its input, both `[B, N]`.
#[derive(Debug, Clone)]
pub struct Tangent {
    /// The logits.
    pub primal: Tensor<2>,
    /// Their Jacobian times the direction.
    pub tangent: Tensor<2>,
}
