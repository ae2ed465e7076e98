//! Family `Sampler`: from noise to a clean sample in a number of steps.

use burn::tensor::Tensor;

use crate::{NoiseSchedule, Timesteps, registry::Family};

/// A sampler, as the recipe states it.
pub trait Sampler: Family {
    /// Runs `context.steps` denoiser calls from pure noise and returns the sample `[B, C, H, W]`.
    fn sample(&self, context: &mut SamplerContext<'_>, denoiser: &mut DenoiserCall<'_>) -> Tensor<4>;

    /// The timesteps at which the denoiser is called, descending.
    fn timesteps(&self, context: &SamplerContext<'_>) -> Vec<usize>;
}

/// What a denoiser says about `x_t`, in both forms.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// `x_0`.
    pub x0: Tensor<4>,
    /// `eps`.
    pub epsilon: Tensor<4>,
}

/// A denoiser with its conditioning and guidance bound: `(x_t, t)` to an estimate.
pub type DenoiserCall<'a> = dyn FnMut(Tensor<4>, &Timesteps) -> Estimate + 'a;

/// What a sampler works with.
pub struct SamplerContext<'a> {
    /// Number of denoiser calls.
    pub steps: usize,
    /// The model's schedule.
    pub schedule: &'a NoiseSchedule,
    /// Timesteps that a distilled student knows, ascending; empty for a model that knows all.
    pub student_timesteps: &'a [usize],
    /// Standard normal noise `[B, C, H, W]` to start from.
    pub noise: Tensor<4>,
    /// Fresh standard normal noise of that shape for step `i`.
    pub fresh_noise: &'a mut dyn FnMut(usize) -> Tensor<4>,
}
