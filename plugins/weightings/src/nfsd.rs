//! Noise-free score distillation: the target leaves out the part of the teacher's prediction that is only noise.
//!
//! `target = x_hat_theta - (sigma_t / alpha_t)(delta_D + scale delta_C)`, `c` as in SDS, so that the gradient is
//! `w(t)(delta_D + scale delta_C)`. `delta_C = eps(y) - eps(null)` points to the prompt; `delta_D`, the correction to
//! the domain of pictures, is `eps(null)` at small timesteps and `eps(null) - eps(y_neg)` above.
//! Sources: Katzir et al. 2023, Eq. (8) to (10); ADD trains its final model with it.

use add_plugin::{Entry, NoiseSchedule, Prompt, StudentSample, Teacher, Weighting, inventory, per_sample};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::SdsWeight;

/// Noise-free score distillation. It has its own scale, and takes no notice of teacher steps and guidance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nfsd {
    /// Factor of the direction to the prompt.
    pub scale: f64,
    /// From this timestep on, the negative prompt's prediction stands in for the noise.
    pub threshold: usize,
    /// `w(t)` of the gradient.
    pub w: SdsWeight,
}

impl Default for Nfsd {
    fn default() -> Self {
        Self { scale: 7.5, threshold: 200, w: SdsWeight::SigmaSquared }
    }
}

impl Weighting for Nfsd {
    fn weight(&self, schedule: &NoiseSchedule, t: f64) -> f64 {
        self.w.c(schedule, t)
    }

    fn target(&self, student: &StudentSample, teacher: &dyn Teacher) -> Tensor<4> {
        let epsilon = |prompt| teacher.epsilon(&student.x_hat_theta_t, &student.t, prompt);
        let null = epsilon(Prompt::Null);
        let delta_c = epsilon(Prompt::Caption) - null.clone();
        let noisy: Vec<f64> =
            student.t.0.iter().map(|&t| f64::from(u8::from(t >= self.threshold as f64))).collect();
        let delta_d = if noisy.contains(&1.0) {
            null.clone() - epsilon(Prompt::Negative) * per_sample(&noisy, &null)
        } else {
            null
        };
        let direction = delta_d + delta_c.mul_scalar(self.scale);
        let schedule = teacher.schedule();
        // Where alpha is 0 the weight is 0 too, so any finite target serves; dividing would make the loss NaN.
        let ratio =
            |&t: &f64| if schedule.alpha(t) > 0.0 { schedule.sigma(t) / schedule.alpha(t) } else { 0.0 };
        let ratio: Vec<f64> = student.t.0.iter().map(ratio).collect();
        student.x_hat_theta.clone() - direction * per_sample(&ratio, &student.x_hat_theta)
    }

    fn minimum_timestep(&self) -> usize {
        self.w.minimum_timestep()
    }
}

inventory::submit!(Entry::weighting::<Nfsd>("Nfsd", "Katzir et al. 2023; ADD, section 3.3"));

#[cfg(test)]
mod tests {
    use add_plugin::Timesteps;
    use burn::tensor::{DType, Device};

    use super::*;
    use crate::three_steps;

    /// `eps` is 0.5 for the caption, 0.2 for the empty one, -0.1 for the negative one.
    struct Constant(NoiseSchedule);

    impl Teacher for Constant {
        fn x0(&self, x_t: &Tensor<4>, _t: &Timesteps) -> Tensor<4> {
            x_t.clone()
        }

        fn epsilon(&self, x_t: &Tensor<4>, _t: &Timesteps, prompt: Prompt) -> Tensor<4> {
            let value = match prompt {
                Prompt::Caption => 0.5,
                Prompt::Null => 0.2,
                Prompt::Negative => -0.1,
            };
            x_t.full_like(value)
        }

        fn schedule(&self) -> &NoiseSchedule {
            &self.0
        }
    }

    fn targets(plugin: &Nfsd, t: [usize; 3]) -> Vec<f64> {
        let sample = Tensor::ones([3, 1, 1, 1], (&Device::flex(), DType::F64));
        let student =
            StudentSample { x_hat_theta: sample.clone(), x_hat_theta_t: sample, t: Timesteps::whole(t) };
        plugin.target(&student, &Constant(three_steps())).into_data().try_to_vec().unwrap()
    }

    #[test]
    fn by_hand() {
        let plugin = Nfsd { scale: 2.0, threshold: 1, w: SdsWeight::SigmaSquared };
        // t = 0: delta_D = 0.2, ratio 0.75; t = 1: delta_D = 0.3, ratio 4/3; t = 2 is pure noise.
        let want = [1.0 - 0.75 * (0.2 + 2.0 * 0.3), 1.0 - 4.0 / 3.0 * (0.3 + 2.0 * 0.3), 1.0];
        for (got, want) in targets(&plugin, [0, 1, 2]).iter().zip(want) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }

    #[test]
    fn the_negative_prompt_does_not_matter_below_the_threshold() {
        let plugin = Nfsd { scale: 0.0, threshold: 3, w: SdsWeight::SigmaSquared };
        for (got, want) in targets(&plugin, [0, 1, 1]).iter().zip([0.85, 1.0 - 0.8 / 3.0, 1.0 - 0.8 / 3.0]) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }
}
