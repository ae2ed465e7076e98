//! Latent consistency models' sampler.
//!
//! `f(x, t) = c_skip(t) x + c_out(t) x_0` under the boundary conditions of training (`add_loss::boundary`); then fresh noise
//! of the next timestep. The timesteps are evenly picked from the ones that the consistency model was distilled on.
//! Source: Luo et al. 2023, algorithm 3 and their scheduler.

use std::num::NonZeroUsize;

use add_loss::{boundary, consistency_function};
use add_plugin::{DenoiserCall, Entry, Sampler, SamplerContext, Scheduler, fields, inventory};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    path::{Level, begin_at, denoise, levels},
    spacing::{for_model, subset},
};

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
            let factors = vec![boundary(t, self.timestep_scaling); x.dims()[0]];
            let denoised = consistency_function(x, x0, &factors);
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
        // Of no effect in this scheduler; pipelines warn at every load where it is not said.
        "steps_offset": 1,
    }));
    Scheduler { class: "LCMScheduler", config }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Run, recipe};

    #[test]
    fn the_released_schedulers_timesteps() {
        let mut run = Run::new(4);
        run.sample(&*recipe("Lcm()"));
        assert_eq!(run.asked, [999.0, 759.0, 499.0, 259.0]);
    }

    #[test]
    fn one_step_is_the_consistency_function_by_hand() {
        // c_skip = 0.25 / (s^2 + 0.25) and c_out = s / sqrt(s^2 + 0.25) with s = 999 / 1998.
        let mut run = Run::new(1);
        let x = run.sample(&*recipe("Lcm(timestep_scaling: 0.0005005005005005005)"));
        assert!((x - (0.5 * run.inputs[0] + 0.5_f64.sqrt() * run.x0)).abs() < 1e-12, "{x}");
    }
}
