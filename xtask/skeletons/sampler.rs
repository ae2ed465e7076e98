//! `x <- x_0(x, t)` at every timestep. Replace it by the update rule of your sampler, and name its source.

use add_plugin::{DenoiserCall, Entry, Sampler, SamplerContext, inventory};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    path::{begin_at, denoise},
    spacing::{Spacing, for_model},
};

/// What it does, and for which models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Skeleton {}

impl Sampler for Skeleton {
    fn sample(&self, context: &mut SamplerContext<'_>, denoiser: &mut DenoiserCall<'_>) -> Tensor<4> {
        let timesteps = self.timesteps(context);
        let mut x = begin_at(context, &timesteps);
        for &t in &timesteps {
            x = denoise(denoiser, &x, t).x0;
        }
        x
    }

    fn timesteps(&self, context: &SamplerContext<'_>) -> Vec<f64> {
        for_model(context, |total, steps| Spacing::Trailing.timesteps(total, steps))
    }
}

inventory::submit!(Entry::sampler::<Skeleton>("Skeleton", "the paper and its algorithm"));

#[cfg(test)]
mod tests {
    use crate::testing::{Run, recipe};

    #[test]
    fn the_denoiser_is_called_once_per_step_in_descending_order() {
        let mut run = Run::new(4);
        let sample = run.sample(&*recipe("Skeleton()"));
        let asked = run.asked.iter().zip([999.0, 749.0, 499.0, 249.0]);
        assert!(run.asked.len() == 4 && asked.into_iter().all(|(t, want)| (t - want).abs() < 1e-9), "{:?}", run.asked);
        // The denoiser of the tests knows the clean sample.
        assert!((sample - run.x0).abs() < 1e-12, "{sample}");
    }

    #[test]
    fn a_student_is_asked_at_its_own_timesteps() {
        let mut run = Run::new(2);
        run.student_timesteps = vec![699, 999];
        run.sample(&*recipe("Skeleton()"));
        let asked = run.asked.iter().zip([999.0, 699.0]);
        assert!(run.asked.len() == 2 && asked.into_iter().all(|(t, want)| (t - want).abs() < 1e-9), "{:?}", run.asked);
    }
}
