//! Euler's method on the probability flow, plain and ancestral, as the released turbo models are sampled.
//!
//! In `y = x_t / alpha_t` with `s = sigma_t / alpha_t` the flow is `dy/ds = eps`, so Euler's step is
//! `y' = y + (s' - s) eps = x_0 + s' eps`: back in `x`, `x' = alpha' x_0 + sigma' eps`. Written so, a start without
//! signal (`s` infinite) is an ordinary step, and on a schedule of rectified flow it is `x' = x + (sigma' - sigma) u`. The ancestral step puts `s_down eps + s_up n` in place of `s' eps`, with
//! `s_down = s' r`, `s_up = s' sqrt(1 - r^2)`, `r = s' / s`. Source: Karras et al. 2022; k-diffusion's samplers.

use add_plugin::{DenoiserCall, Entry, Sampler, SamplerContext, Scheduler, fields, inventory};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Spacing,
    path::{Level, begin, denoise, levels},
    spacing::for_model,
};

/// Euler's method; deterministic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Euler {
    /// Which timesteps are visited.
    pub spacing: Spacing,
}

/// Euler's method with fresh noise at every step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EulerAncestral {
    /// Which timesteps are visited.
    pub spacing: Spacing,
}

impl Sampler for Euler {
    fn sample(&self, context: &mut SamplerContext<'_>, denoiser: &mut DenoiserCall<'_>) -> Tensor<4> {
        let timesteps = self.timesteps(context);
        let mut x = start(self.spacing, context, &timesteps);
        for (i, &t) in timesteps.iter().enumerate() {
            let estimate = denoise(denoiser, &x, t);
            let (_, next) = levels(context.schedule, &timesteps, i);
            x = next.diffuse(estimate.x0, estimate.epsilon);
        }
        x
    }

    fn timesteps(&self, context: &SamplerContext<'_>) -> Vec<f64> {
        for_model(context, |grid, steps| self.spacing.timesteps(grid, steps))
    }

    fn scheduler(&self, _total: usize, _student_timesteps: &[usize]) -> Option<Scheduler> {
        Some(Scheduler { class: "EulerDiscreteScheduler", config: self.spacing.scheduler_fields() })
    }

    fn flow_scheduler(&self) -> Option<Scheduler> {
        // The only spacing that diffusers' scheduler of rectified flow has.
        let config = fields(json!({ "use_dynamic_shifting": false }));
        let flow = Scheduler { class: "FlowMatchEulerDiscreteScheduler", config };
        (self.spacing == Spacing::Linspace).then_some(flow)
    }
}

impl Sampler for EulerAncestral {
    fn sample(&self, context: &mut SamplerContext<'_>, denoiser: &mut DenoiserCall<'_>) -> Tensor<4> {
        let timesteps = self.timesteps(context);
        let mut x = start(self.spacing, context, &timesteps);
        for (i, &t) in timesteps.iter().enumerate() {
            let estimate = denoise(denoiser, &x, t);
            let (here, next) = levels(context.schedule, &timesteps, i);
            if next == Level::CLEAN {
                return estimate.x0;
            }
            let kept = noise_kept(here, next);
            let noise = (context.fresh_noise)(i).mul_scalar((1.0 - kept * kept).sqrt());
            x = next.diffuse(estimate.x0, estimate.epsilon.mul_scalar(kept) + noise);
        }
        x
    }

    fn timesteps(&self, context: &SamplerContext<'_>) -> Vec<f64> {
        for_model(context, |grid, steps| self.spacing.timesteps(grid, steps))
    }

    fn scheduler(&self, _total: usize, _student_timesteps: &[usize]) -> Option<Scheduler> {
        Some(Scheduler { class: "EulerAncestralDiscreteScheduler", config: self.spacing.scheduler_fields() })
    }
}

inventory::submit!(Entry::sampler::<Euler>("Euler", "Karras et al. 2022; SD Turbo"));
inventory::submit!(Entry::sampler::<EulerAncestral>("EulerAncestral", "k-diffusion; SDXL Turbo"));

/// The released schedulers start at `s` times the noise, that is `sigma_t` times it in `x`, where the spacing visits
/// the last timestep, and at the noise itself under leading spacing.
fn start(spacing: Spacing, context: &SamplerContext<'_>, timesteps: &[f64]) -> Tensor<4> {
    let first = timesteps.first().map(|&t| Level::at(context.schedule, t));
    let pure = match (spacing, first) {
        (Spacing::Trailing | Spacing::Linspace, Some(level)) => context.noise.clone().mul_scalar(level.sigma),
        _ => context.noise.clone(),
    };
    begin(context, first, pure)
}

/// `r = s' / s`, the part of the predicted noise that an ancestral step keeps; 0 from a start without signal.
fn noise_kept(here: Level, next: Level) -> f64 {
    (next.sigma * here.alpha) / (next.alpha * here.sigma)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::*;
    use crate::testing::{Run, recipe};

    #[test]
    fn one_trailing_step_is_the_estimate_itself() {
        for name in ["Euler()", "EulerAncestral()"] {
            let mut run = Run::new(1);
            let x = run.sample(&*recipe(name));
            assert!((x - run.x0).abs() < 1e-12 && run.asked == [999.0], "{name}: {x} {:?}", run.asked);
            assert!((run.inputs[0] - run.schedule.sigma(999.0) * run.noise).abs() < 1e-12);
        }
    }

    #[test]
    fn from_pure_noise_the_ancestral_step_keeps_nothing() {
        let half = Level { alpha: 0.6, sigma: 0.8 };
        assert_eq!(noise_kept(Level { alpha: 0.0, sigma: 1.0 }, half), 0.0);
        let here = Level { alpha: 0.6, sigma: 0.8 };
        assert!((noise_kept(here, Level { alpha: 0.8, sigma: 0.6 }) - 0.5625).abs() < 1e-15);
    }
}
