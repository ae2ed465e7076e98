//! Noise levels along a sampler's way.

use add_plugin::{DenoiserCall, Estimate, NoiseSchedule, SamplerContext, Start, Timesteps};
use burn::tensor::Tensor;

/// `(alpha, sigma)` of one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    pub(crate) alpha: f64,
    pub(crate) sigma: f64,
}

impl Level {
    /// No noise at all.
    pub(crate) const CLEAN: Self = Self { alpha: 1.0, sigma: 0.0 };

    /// Level of a timestep.
    pub(crate) fn at(schedule: &NoiseSchedule, t: f64) -> Self {
        let (alpha, sigma) = schedule.level(t);
        Self { alpha, sigma }
    }

    /// `alpha x0 + sigma eps`.
    pub(crate) fn diffuse(self, x0: Tensor<4>, eps: Tensor<4>) -> Tensor<4> {
        x0.mul_scalar(self.alpha) + eps.mul_scalar(self.sigma)
    }
}

/// The timestep's level and that of the one after it in a descending list; the clean end follows the last.
pub(crate) fn levels(schedule: &NoiseSchedule, timesteps: &[f64], i: usize) -> (Level, Level) {
    let next = timesteps.get(i + 1).map_or(Level::CLEAN, |&t| Level::at(schedule, t));
    (Level::at(schedule, timesteps[i]), next)
}

/// The denoiser's estimate for a batch that is at one timestep.
pub(crate) fn denoise(denoiser: &mut DenoiserCall<'_>, x_t: &Tensor<4>, t: f64) -> Estimate {
    denoiser(x_t.clone(), &Timesteps::same(t, x_t.dims()[0]))
}

/// Where the walk begins: at `pure` noise, or at the given picture, noised to the first step's level.
pub(crate) fn begin(context: &SamplerContext<'_>, first: Option<Level>, pure: Tensor<4>) -> Tensor<4> {
    match (&context.start, first) {
        (Start::Picture { x_0, .. }, Some(level)) => level.diffuse(x_0.clone(), context.noise.clone()),
        _ => pure,
    }
}

/// The same for a walk over timesteps, whose pure noise is the context's.
pub(crate) fn begin_at(context: &SamplerContext<'_>, timesteps: &[f64]) -> Tensor<4> {
    let first = timesteps.first().map(|&t| Level::at(context.schedule, t));
    begin(context, first, context.noise.clone())
}

/// What is left of a list of steps when a picture is there already.
pub(crate) fn remaining<T>(context: &SamplerContext<'_>, mut steps: Vec<T>) -> Vec<T> {
    let skipped = context.start.skipped(steps.len());
    steps.split_off(skipped)
}
