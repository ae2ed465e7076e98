//! DPM-Solver++(2M), multistep of second order on the prediction of `x_0`.
//!
//! With `lambda = log(alpha / sigma)` and `h = lambda' - lambda`:
//! `x' = (sigma' / sigma) x - alpha' (e^{-h} - 1) D`, `D = x_0 + (h / 2 h_prev)(x_0 - x_0_prev)`; the first and the last
//! step take `D = x_0`. Source: Lu et al. 2022, "DPM-Solver++", algorithm 2; noise levels of Karras et al. 2022, Eq. (5).
//!
//! A start without signal is well defined: there `lambda` is minus infinity, so the first step is
//! `x' = sigma' x + alpha' x_0` with `x` all noise, and in the second `h / h_prev` is 0, a first-order step again.

use add_plugin::{DenoiserCall, Entry, NoiseSchedule, Sampler, SamplerContext, Scheduler, fields, inventory};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Spacing,
    path::{Level, begin, denoise, remaining},
    spacing::for_model,
};

/// The teacher's usual solver; deterministic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpmSolver2M {
    /// Which timesteps are visited.
    pub spacing: Spacing,
    /// Which noise levels are visited. A student with few timesteps keeps to those.
    pub sigmas: Sigmas,
}

/// Which noise levels are visited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sigmas {
    /// Those of the timesteps that the spacing gives.
    #[default]
    Timesteps,
    /// Evenly spaced in the 7th root of `sigma / alpha` from the last timestep's to the first's; the denoiser is asked
    /// at the nearest timestep. The spacing does not matter then.
    Karras,
}

/// Exponent of the Karras levels.
const RHO: f64 = 7.0;

/// `sigma / alpha` that stands for infinity where levels are spaced by it: `alpha_bar = 2^-24`, as in the libraries.
const LARGEST_RATIO: f64 = 4096.0;

impl Sampler for DpmSolver2M {
    fn sample(&self, context: &mut SamplerContext<'_>, denoiser: &mut DenoiserCall<'_>) -> Tensor<4> {
        let (timesteps, levels) = self.path(context);
        let mut x = begin(context, levels.first().copied(), context.noise.clone());
        let mut previous: Option<(Tensor<4>, f64)> = None;
        for (i, (&t, &here)) in timesteps.iter().zip(&levels).enumerate() {
            let estimate = denoise(denoiser, &x, t);
            let asked = Level::at(context.schedule, t);
            let x0 = if here == asked || asked.alpha == 0.0 {
                estimate.x0
            } else {
                // Asked at the nearest timestep only: the noise estimate carries over, x_0 belongs to the exact level.
                (x.clone() - estimate.epsilon.mul_scalar(here.sigma)).div_scalar(here.alpha)
            };
            let next = levels.get(i + 1).copied().unwrap_or(Level::CLEAN);
            let h = log_snr(next) - log_snr(here);
            let direction = match previous {
                Some((before, h_previous)) if next != Level::CLEAN => {
                    x0.clone() + (x0.clone() - before).mul_scalar(0.5 * h / h_previous)
                }
                _ => x0.clone(),
            };
            x = x.mul_scalar(next.sigma / here.sigma) - direction.mul_scalar(next.alpha * (-h).exp_m1());
            previous = Some((x0, h));
        }
        x
    }

    fn timesteps(&self, context: &SamplerContext<'_>) -> Vec<f64> {
        self.path(context).0
    }

    fn scheduler(&self, _total: usize, _student_timesteps: &[usize]) -> Option<Scheduler> {
        let mut config = self.spacing.scheduler_fields();
        config.extend(fields(json!({
            "algorithm_type": "dpmsolver++",
            "solver_order": 2,
            "solver_type": "midpoint",
            "use_karras_sigmas": self.sigmas == Sigmas::Karras,
            "final_sigmas_type": "zero",
        })));
        Some(Scheduler { class: "DPMSolverMultistepScheduler", config })
    }
}

inventory::submit!(Entry::sampler::<DpmSolver2M>("DpmSolver2M", "Lu et al. 2022, DPM-Solver++ (2M)"));

impl DpmSolver2M {
    /// Timesteps and levels, from noise to clean; the clean end itself is not in it.
    fn path(&self, context: &SamplerContext<'_>) -> (Vec<f64>, Vec<Level>) {
        let schedule = context.schedule;
        let known = context.student_timesteps.len() >= context.steps.max(1);
        if self.sigmas == Sigmas::Karras && !known {
            return remaining(context, karras(schedule, context.steps)).into_iter().unzip();
        }
        let timesteps = for_model(context, |grid, steps| self.spacing.timesteps_above_the_end(grid, steps));
        let levels = timesteps.iter().map(|&t| Level::at(schedule, t)).collect();
        (timesteps, levels)
    }
}

/// `steps` levels from the schedule's last to its first, each with its nearest timestep.
fn karras(schedule: &NoiseSchedule, steps: usize) -> Vec<(f64, Level)> {
    let ratio = |t: f64| (schedule.sigma(t) / schedule.alpha(t)).min(LARGEST_RATIO);
    let root = |t: f64| ratio(t).powf(1.0 / RHO);
    let (largest, smallest) = (root((schedule.steps() - 1) as f64), root(0.0));
    let level = |i: usize| {
        let place = i as f64 / (steps - 1).max(1) as f64;
        let ratio = (largest + place * (smallest - largest)).powf(RHO);
        let t = at_ratio(schedule, ratio);
        if !schedule.is_variance_preserving() {
            return (t, Level::at(schedule, t));
        }
        // The library asks at whole timesteps.
        let alpha = (1.0 + ratio * ratio).sqrt().recip();
        (t.round_ties_even(), Level { alpha, sigma: ratio * alpha })
    };
    (0..steps).map(level).collect()
}

/// The timestep whose `log(sigma / alpha)` is that of `ratio`, by linear interpolation between the whole ones.
fn at_ratio(schedule: &NoiseSchedule, ratio: f64) -> f64 {
    let log = |t: usize| {
        let t = t as f64;
        (schedule.sigma(t) / schedule.alpha(t)).min(LARGEST_RATIO).ln()
    };
    let above = (0..schedule.steps()).find(|&t| log(t) > ratio.ln()).unwrap_or(schedule.steps() - 1);
    let below = above.saturating_sub(1);
    if above == below {
        return below as f64;
    }
    let place = ((ratio.ln() - log(below)) / (log(above) - log(below))).clamp(0.0, 1.0);
    below as f64 + place
}

/// `lambda = log(alpha / sigma)`; infinite at both ends.
fn log_snr(level: Level) -> f64 {
    level.alpha.ln() - level.sigma.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, recipe};

    #[test]
    fn one_step_is_the_estimate_itself() {
        for name in ["DpmSolver2M()", "DpmSolver2M(sigmas: Karras)"] {
            let mut run = Run::new(1);
            let x = run.sample(&*recipe(name));
            assert!((x - run.x0).abs() < 1e-12 && run.asked == [999.0], "{name}: {x} {:?}", run.asked);
        }
    }

    #[test]
    fn karras_levels_span_the_schedule() {
        let schedule = Run::new(5).schedule;
        let levels = karras(&schedule, 5);
        assert_eq!((levels[0].0, levels[4].0), (999.0, 0.0));
        let ratio = |level: Level| (level.sigma / level.alpha).powf(1.0 / 7.0);
        let gaps: Vec<f64> = levels.windows(2).map(|w| ratio(w[0].1) - ratio(w[1].1)).collect();
        assert!(gaps.iter().all(|gap| (gap - gaps[0]).abs() < 1e-12), "{gaps:?}");
    }

    #[test]
    fn the_second_step_from_pure_noise_is_finite_and_of_first_order() {
        let mut run = Run::on(&[0.9, 0.6, 0.3, 0.0], 3);
        run.sample(&*recipe("DpmSolver2M()"));
        assert_eq!(run.asked, [3.0, 2.0, 0.0]);
        // x' = sigma' noise + alpha' x_0
        let schedule = &run.schedule;
        let want = schedule.sigma(2.0) * run.noise + schedule.alpha(2.0) * run.x0;
        assert!((run.inputs[1] - want).abs() < 1e-12, "{} {want}", run.inputs[1]);
    }
}
