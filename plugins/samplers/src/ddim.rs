//! DDIM: `x' = alpha' x_0 + sqrt(sigma'^2 - s^2) eps + s n`,
//! `s = eta (sigma' / sigma) sqrt(sigma^2 - (alpha sigma' / alpha')^2)`. Source: Song et al. 2021, Eq. (12) and (16), where
//! `alpha^2 + sigma^2 = 1` makes the root `sqrt(1 - alpha^2 / alpha'^2)`.
//!
//! Both estimates are the denoiser's, so the step from `alpha = 0` divides by `sigma = 1` only.

use add_plugin::{DenoiserCall, Entry, NoiseSchedule, Sampler, SamplerContext, Scheduler, fields, inventory};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Spacing,
    path::{Level, begin_at, denoise, levels},
    spacing::for_model,
};

/// DDIM; with `eta = 0` deterministic, with `eta = 1` as noisy as DDPM.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ddim {
    /// Amount of fresh noise, 0 to 1.
    pub eta: f64,
    /// Which timesteps are visited.
    pub spacing: Spacing,
    /// Where the last step goes.
    pub landing: Landing,
}

/// Where the last step goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Landing {
    /// The estimate of the clean sample.
    #[default]
    Clean,
    /// Timestep 0, which holds a little noise: what Stable Diffusion's configurations do.
    FirstTimestep,
}

impl Sampler for Ddim {
    fn sample(&self, context: &mut SamplerContext<'_>, denoiser: &mut DenoiserCall<'_>) -> Tensor<4> {
        let timesteps = self.timesteps(context);
        let mut x = begin_at(context, &timesteps);
        for (i, &t) in timesteps.iter().enumerate() {
            let estimate = denoise(denoiser, &x, t);
            let (here, mut next) = levels(context.schedule, &timesteps, i);
            if next == Level::CLEAN && self.landing == Landing::FirstTimestep {
                next = Level::at(context.schedule, 0.0);
            }
            let fresh = fresh_noise(context.schedule, self.eta, here, next);
            let direction = (next.sigma.powi(2) - fresh.powi(2)).max(0.0).sqrt();
            x = estimate.x0.mul_scalar(next.alpha) + estimate.epsilon.mul_scalar(direction);
            if fresh > 0.0 {
                x = x + (context.fresh_noise)(i).mul_scalar(fresh);
            }
        }
        x
    }

    fn timesteps(&self, context: &SamplerContext<'_>) -> Vec<f64> {
        for_model(context, |grid, steps| self.spacing.timesteps(grid, steps))
    }

    fn scheduler(&self, _total: usize, _student_timesteps: &[usize]) -> Option<Scheduler> {
        let mut config = self.spacing.scheduler_fields();
        config.extend(fields(json!({
            "clip_sample": false,
            "set_alpha_to_one": self.landing == Landing::Clean,
        })));
        Some(Scheduler { class: "DDIMScheduler", config })
    }
}

inventory::submit!(Entry::sampler::<Ddim>("Ddim", "Song et al. 2021"));

/// `s`, the standard deviation of the fresh noise.
fn fresh_noise(schedule: &NoiseSchedule, eta: f64, here: Level, next: Level) -> f64 {
    let kept = here.alpha / next.alpha;
    let replaced = if schedule.is_variance_preserving() {
        1.0 - kept.powi(2)
    } else {
        here.sigma.powi(2) - (kept * next.sigma).powi(2)
    };
    // Timestep 0 may be both the last visited and the landing; then nothing is left to replace.
    eta * next.sigma / here.sigma * replaced.max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, recipe};

    #[test]
    fn one_step_is_the_estimate_itself() {
        let mut run = Run::new(1);
        let x = run.sample(&*recipe("Ddim()"));
        assert!((x - run.x0).abs() < 1e-12 && run.asked == [999.0]);
    }

    #[test]
    fn two_steps_by_hand() {
        let mut run = Run::new(2);
        run.sample(&*recipe("Ddim(eta: 0.0)"));
        let eps = (run.inputs[0] - run.schedule.alpha(999.0) * run.x0) / run.schedule.sigma(999.0);
        let want = run.schedule.alpha(499.0) * run.x0 + run.schedule.sigma(499.0) * eps;
        assert!((run.inputs[1] - want).abs() < 1e-12);
    }

    #[test]
    fn full_eta_from_pure_noise_replaces_all_noise() {
        let (pure, half) = (Level { alpha: 0.0, sigma: 1.0 }, Level { alpha: 0.6, sigma: 0.8 });
        let preserving = NoiseSchedule::from_alphas_cumprod(&[0.5]);
        assert!((fresh_noise(&preserving, 1.0, pure, half) - 0.8).abs() < 1e-15);
        assert!(fresh_noise(&preserving, 0.0, pure, half).abs() < f64::MIN_POSITIVE);
    }

    #[test]
    fn the_general_fresh_noise_is_that_of_a_variance_preserving_schedule_there() {
        let (here, next) = (Level { alpha: 0.6, sigma: 0.8 }, Level { alpha: 0.8, sigma: 0.6 });
        let any = NoiseSchedule::from_levels(&[(0.8, 0.6), (0.6, 0.8)]);
        let preserving = NoiseSchedule::from_alphas_cumprod(&[0.64, 0.36]);
        let [any, preserving] = [any, preserving].map(|schedule| fresh_noise(&schedule, 1.0, here, next));
        assert!((any - preserving).abs() < 1e-15 && any > 0.4, "{any} {preserving}");
    }

    #[test]
    fn stable_diffusion_lands_on_its_first_timestep() {
        let mut run = Run::new(1);
        let x = run.sample(&*recipe("Ddim(landing: FirstTimestep)"));
        let eps = (run.inputs[0] - run.schedule.alpha(999.0) * run.x0) / run.schedule.sigma(999.0);
        let want = run.schedule.alpha(0.0) * run.x0 + run.schedule.sigma(0.0) * eps;
        assert!((x - want).abs() < 1e-12);
    }
}
