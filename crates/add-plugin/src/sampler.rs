//! Family `Sampler`: from noise to a clean sample in a number of steps.

use burn::tensor::Tensor;

use crate::{NoiseSchedule, Scheduler, Timesteps, registry::Family};

/// A sampler, as the recipe states it.
pub trait Sampler: Family {
    /// Runs `context.steps` denoiser calls from pure noise and returns the sample `[B, C, H, W]`.
    fn sample(&self, context: &mut SamplerContext<'_>, denoiser: &mut DenoiserCall<'_>) -> Tensor<4>;

    /// The timesteps at which the denoiser is called, descending; real numbers in units of training steps.
    fn timesteps(&self, context: &SamplerContext<'_>) -> Vec<f64>;

    /// The scheduler of diffusers that does the same with a model of `total` timesteps, of which a student knows
    /// `student_timesteps` (ascending; empty for a model that knows all). `None` where there is none.
    fn scheduler(&self, _total: usize, _student_timesteps: &[usize]) -> Option<Scheduler> {
        None
    }

    /// The same for a model of rectified flow.
    fn flow_scheduler(&self) -> Option<Scheduler> {
        None
    }
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
    /// What is there before the first step.
    pub start: Start,
    /// Fresh standard normal noise of that shape for step `i`.
    pub fresh_noise: &'a mut dyn FnMut(usize) -> Tensor<4>,
}

/// What is there before a sampler's first step.
#[derive(Debug, Clone, Default)]
#[expect(clippy::large_enum_variant, reason = "there is one of them")]
pub enum Start {
    /// Noise alone.
    #[default]
    Noise,
    /// A clean sample `[B, C, H, W]` under the noise, of whose steps only the last part is gone.
    Picture {
        /// The sample.
        x_0: Tensor<4>,
        /// The part of the steps that is gone, 0 to 1: how much of the picture is made anew.
        strength: f64,
    },
}

impl Start {
    /// The same start for each of `batch` pictures, from that of one.
    #[must_use]
    pub fn repeat(&self, batch: usize) -> Self {
        match self {
            Self::Noise => Self::Noise,
            Self::Picture { x_0, strength } => {
                Self::Picture { x_0: x_0.clone().repeat_dim(0, batch), strength: *strength }
            }
        }
    }

    /// How many of `steps` are left out; at least one remains.
    pub fn skipped(&self, steps: usize) -> usize {
        match self {
            Self::Noise => 0,
            // As diffusers counts: rounded down.
            Self::Picture { strength, .. } => {
                steps - ((steps as f64 * strength) as usize).clamp(1.min(steps), steps)
            }
        }
    }
}
