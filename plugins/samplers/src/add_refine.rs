//! The paper's iterative refinement: predict `x_0`, add fresh noise of the next lower student timestep, repeat.
//!
//! Source: ADD, sections 3.1 and 5 ("we retain the ability to refine samples using multiple steps").

use add_plugin::{DenoiserCall, Entry, Sampler, SamplerContext, Scheduler, inventory};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    Spacing,
    lcm::consistency,
    path::{begin_at, denoise, levels, remaining},
    spacing::{for_model, subset},
};

/// Iterative refinement over the student's own timesteps.
///
/// Fewer steps take an evenly spread subset that starts at the last timestep; more steps than the student has
/// timesteps take all of them. A model without student timesteps is asked at trailing ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRefine {}

impl Sampler for AddRefine {
    fn sample(&self, context: &mut SamplerContext<'_>, denoiser: &mut DenoiserCall<'_>) -> Tensor<4> {
        let timesteps = self.timesteps(context);
        let mut x = begin_at(context, &timesteps);
        for (i, &t) in timesteps.iter().enumerate() {
            let x0 = denoise(denoiser, &x, t).x0;
            if i + 1 == timesteps.len() {
                return x0;
            }
            let (_, next) = levels(context.schedule, &timesteps, i);
            x = next.diffuse(x0, (context.fresh_noise)(i));
        }
        x
    }

    fn timesteps(&self, context: &SamplerContext<'_>) -> Vec<f64> {
        if context.student_timesteps.is_empty() {
            return for_model(context, |grid, steps| Spacing::Trailing.timesteps(grid, steps));
        }
        remaining(context, subset(context.student_timesteps, context.steps))
    }

    fn scheduler(&self, total: usize, student_timesteps: &[usize]) -> Option<Scheduler> {
        // Those that are evenly spread down from the last: then fewer steps pick the same as here.
        let n = student_timesteps.len();
        let even = n > 0 && student_timesteps.iter().zip(1..).all(|(&t, i)| t + 1 == i * (total / n));
        Some(consistency(if even { n } else { total }))
    }
}

inventory::submit!(Entry::sampler::<AddRefine>("AddRefine", "ADD, sections 3.1 and 5"));

#[cfg(test)]
mod tests {
    use crate::testing::{Run, recipe};

    #[test]
    fn it_walks_down_the_students_timesteps() {
        let plugin = recipe("AddRefine()");
        for (steps, want) in
            [(1, vec![999.0]), (2, vec![999.0, 499.0]), (4, vec![999.0, 749.0, 499.0, 249.0])]
        {
            let mut run = Run::new(steps);
            run.student_timesteps = vec![249, 499, 749, 999];
            run.sample(&*plugin);
            assert_eq!(run.asked, want);
        }
    }

    #[test]
    fn the_result_is_the_last_estimate_and_noise_is_fresh_in_between() {
        let mut run = Run::new(2);
        let x = run.sample(&*recipe("AddRefine()"));
        assert!((x - run.x0).abs() < 1e-12);
        let schedule = &run.schedule;
        let want = schedule.alpha(499.0) * run.x0 + schedule.sigma(499.0) * run.fresh;
        assert!((run.inputs[1] - want).abs() < 1e-12, "{:?} {want}", run.inputs);
    }
}
