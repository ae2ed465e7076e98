//! Family `Critic`: what discriminator heads look at where that is not a network of pictures.
//!
//! A frozen [`FeatureNetwork`](crate::FeatureNetwork) looks at decoded pictures. A critic looks at latents, with their
//! timestep and text, and through the run's own teacher.

use burn::tensor::Tensor;

use crate::{
    Backbone, Conditioning, Denoiser, Draw, NoiseSchedule, Plugin, PluginError, Purpose, Timesteps,
    registry::Family,
};

/// A critic, as the recipe states it.
pub trait Critic: Family {
    /// Name and channels of each of its features, in the order of [`features`](Self::features), for a teacher of this
    /// backbone.
    ///
    /// # Errors
    /// When the teacher does not show what it looks at.
    fn hooks(&self, teacher: &Plugin<dyn Backbone>) -> Result<Vec<(String, usize)>, PluginError>;

    /// The timestep at which a sample is looked at, drawn for it under `purpose`.
    fn timestep(&self, schedule: &NoiseSchedule, draw: &Draw, purpose: Purpose) -> f64;

    /// Adds what does not hold of its own fields, as pairs of a field and a message.
    fn problems(&self, _schedule: &NoiseSchedule) -> Vec<(&'static str, String)> {
        Vec::new()
    }

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
