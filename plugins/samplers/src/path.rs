//! Noise levels along a sampler's way.

use add_plugin::{DenoiserCall, Estimate, NoiseSchedule, Timesteps};
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
    pub(crate) fn at(schedule: &NoiseSchedule, t: usize) -> Self {
        Self { alpha: schedule.alpha(t), sigma: schedule.sigma(t) }
    }

    /// `alpha x0 + sigma eps`.
    pub(crate) fn diffuse(self, x0: Tensor<4>, eps: Tensor<4>) -> Tensor<4> {
        x0.mul_scalar(self.alpha) + eps.mul_scalar(self.sigma)
    }
}

/// The timestep's level and that of the one after it in a descending list; the clean end follows the last.
pub(crate) fn levels(schedule: &NoiseSchedule, timesteps: &[usize], i: usize) -> (Level, Level) {
    let next = timesteps.get(i + 1).map_or(Level::CLEAN, |&t| Level::at(schedule, t));
    (Level::at(schedule, timesteps[i]), next)
}

/// The denoiser's estimate for a batch that is at one timestep.
pub(crate) fn denoise(denoiser: &mut DenoiserCall<'_>, x_t: &Tensor<4>, t: usize) -> Estimate {
    denoiser(x_t.clone(), &Timesteps::same(t, x_t.dims()[0]))
}
