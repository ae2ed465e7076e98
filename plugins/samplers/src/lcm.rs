//! Latent consistency models' sampler.
//!
//! `f(x, t) = c_skip(t) x + c_out(t) x_0`, `c_skip = d^2 / (s^2 + d^2)`, `c_out = s / sqrt(s^2 + d^2)`,
//! `s = timestep_scaling t`, `d = 0.5`; then fresh noise of the next timestep. The timesteps are evenly picked from the
//! ones that the consistency model was distilled on. Source: Luo et al. 2023, algorithm 3 and their scheduler.

use std::num::NonZeroUsize;

use add_plugin::{DenoiserCall, Entry, Sampler, SamplerContext, Scheduler, fields, inventory};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    path::{Level, begin_at, denoise, levels},
    spacing::{for_model, subset},
};

/// Standard deviation of the data, `d`.
const SIGMA_DATA: f64 = 0.5;

/// The sampler of latent consistency models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lcm {
    /// Number of timesteps that the model was distilled on, evenly spread.
    pub original_steps: NonZeroUsize,
    /// Factor of `t` in the boundary conditions; the higher, the less of the input is kept.
    pub timestep_scaling: f64,
}

impl Default for Lcm {
    fn default() -> Self {
        Self { original_steps: const { NonZeroUsize::new(50).unwrap() }, timestep_scaling: 10.0 }
    }
}

impl Sampler for Lcm {
    fn sample(&self, context: &mut SamplerContext<'_>, denoiser: &mut DenoiserCall<'_>) -> Tensor<4> {
        let timesteps = self.timesteps(context);
        let mut x = begin_at(context, &timesteps);
        for (i, &t) in timesteps.iter().enumerate() {
            let x0 = denoise(denoiser, &x, t).x0;
            let (skip, out) = self.boundary(t);
            let denoised = x0.mul_scalar(out) + x.mul_scalar(skip);
            let (_, next) = levels(context.schedule, &timesteps, i);
            if next == Level::CLEAN {
                return denoised;
            }
            x = next.diffuse(denoised, (context.fresh_noise)(i));
        }
        x
    }

    fn timesteps(&self, context: &SamplerContext<'_>) -> Vec<f64> {
        for_model(context, |grid, steps| {
            let total = grid.total();
            let original = self.original_steps.get().min(total);
            let known: Vec<usize> = (1..=original).map(|i| i * (total / original) - 1).collect();
            subset(&known, steps)
        })
    }

    fn scheduler(&self, _total: usize, _student_timesteps: &[usize]) -> Option<Scheduler> {
        let mut scheduler = consistency(self.original_steps.get());
        scheduler.config.insert("timestep_scaling".to_owned(), self.timestep_scaling.into());
        Some(scheduler)
    }
}

inventory::submit!(Entry::sampler::<Lcm>("Lcm", "Luo et al. 2023, algorithm 3"));

/// diffusers' scheduler that predicts `x_0` and adds fresh noise, for a model that was distilled on `original_steps`.
pub(crate) fn consistency(original_steps: usize) -> Scheduler {
    let config = fields(json!({
        "original_inference_steps": original_steps,
        // Of the input, 1e-6 is kept at timestep 49 and less above.
        "timestep_scaling": 10.0,
        "clip_sample": false,
        "set_alpha_to_one": true,
    }));
    Scheduler { class: "LCMScheduler", config }
}

impl Lcm {
    /// `(c_skip, c_out)`.
    fn boundary(&self, t: f64) -> (f64, f64) {
        let scaled = t * self.timestep_scaling;
        let total = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
        (SIGMA_DATA * SIGMA_DATA / total, scaled / total.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, recipe};

    #[test]
    fn the_released_schedulers_timesteps() {
        let mut run = Run::new(4);
        run.sample(&*recipe("Lcm()"));
        assert_eq!(run.asked, [999.0, 759.0, 499.0, 259.0]);
    }

    #[test]
    fn at_the_clean_end_the_input_is_kept() {
        assert_eq!(Lcm::default().boundary(0.0), (1.0, 0.0));
    }

    #[test]
    fn boundary_by_hand() {
        // s = 0.5: c_skip = 0.25 / 0.5, c_out = 0.5 / sqrt(0.5)
        let (skip, out) = Lcm { timestep_scaling: 0.25, ..Lcm::default() }.boundary(2.0);
        assert!((skip - 0.5).abs() < 1e-15 && (out - 0.5_f64.sqrt()).abs() < 1e-15);
    }
}
