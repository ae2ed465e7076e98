//! Family `Critic`: what discriminator heads look at where that is not a network of pictures.
//!
//! A frozen [`FeatureNetwork`](crate::FeatureNetwork) looks at decoded pictures. A critic looks at latents, with their
//! timestep and text, and through the run's own teacher.

use burn::tensor::Tensor;

use crate::{
    Backbone, Conditioning, Denoiser, NoiseSchedule, Plugin, PluginError, Timesteps, registry::Family,
};

/// A critic, as the recipe states it.
pub trait Critic: Family {
    /// Name and channels of each of its features, in the order of [`features`](Self::features), for a teacher of this
    /// backbone.
    ///
    /// # Errors
    /// When the teacher does not show what it looks at.
    fn hooks(&self, teacher: &Plugin<dyn Backbone>) -> Result<Vec<(String, usize)>, PluginError>;

    /// The timestep at which a sample is looked at, for a number that is uniform in `[0, 1)`.
    fn timestep(&self, schedule: &NoiseSchedule, uniform: f64) -> f64;

    /// One `[B, C, N]` per hook, on the tape of `x_t`, if it has one; the teacher is constant.
    ///
    /// # Errors
    /// When the teacher does not show what it looks at.
    fn features(
        &self,
        teacher: &dyn Denoiser,
        schedule: &NoiseSchedule,
        x_t: Tensor<4>,
        t: &Timesteps,
        text: &Conditioning,
    ) -> Result<Vec<Tensor<3>>, PluginError>;
}
