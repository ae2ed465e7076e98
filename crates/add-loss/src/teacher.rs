//! The teacher's estimate: guidance, and several consecutive denoising steps. ADD, section 3.3 and Table 1f.

use add_plugin::{DenoiserCall, NoiseSchedule, Timesteps};
use burn::tensor::Tensor;

use crate::diffuse;

/// Classifier-free guidance: `unconditional + scale (conditional - unconditional)`, with `scale: [B, 1, 1, 1]`.
/// Ho and Salimans 2022, in the form where scale 1 means no guidance.
pub fn guide(conditional: Tensor<4>, unconditional: Tensor<4>, scale: Tensor<4>) -> Tensor<4> {
    unconditional.clone() + (conditional - unconditional) * scale
}

/// The timesteps of `steps` consecutive denoising steps from `t`, evenly spaced towards 0: `t` itself, then
/// `floor(t (K - k) / K)`.
pub fn consecutive_timesteps(t: &Timesteps, steps: usize) -> Vec<Timesteps> {
    let at = |t: f64, k: usize| if k == 0 { t } else { (t * (steps - k) as f64 / steps as f64).floor() };
    (0..steps).map(|k| Timesteps(t.0.iter().map(|&t| at(t, k)).collect())).collect()
}

/// The teacher's `x_0` after `steps` consecutive DDIM steps from `x_t`; the last estimate is taken.
///
/// Each step's estimate is diffused to the next timestep with the noise that the teacher saw in it.
///
/// # Panics
/// Panics when `steps` is 0.
pub fn consecutive_estimate(
    x_t: Tensor<4>,
    t: &Timesteps,
    steps: usize,
    schedule: &NoiseSchedule,
    teacher: &mut DenoiserCall<'_>,
) -> Tensor<4> {
    let timesteps = consecutive_timesteps(t, steps);
    let (first, later) = timesteps.split_first().expect("a teacher takes at least one step");
    let mut estimate = teacher(x_t, first);
    for t in later {
        let at = schedule.coefficients(t, &estimate.x0);
        estimate = teacher(diffuse(estimate.x0, estimate.epsilon, &at), t);
    }
    estimate.x0
}

#[cfg(test)]
mod tests {
    use add_plugin::{Estimate, per_sample};
    use burn::tensor::{DType, Device};

    use super::*;

    fn picture(value: f64) -> Tensor<4> {
        Tensor::full([1, 1, 2, 2], value, (&Device::flex(), DType::F64))
    }

    #[test]
    fn two_steps_halve_the_timestep() {
        let t = Timesteps(vec![150.0, 501.0, 10.5]);
        assert_eq!(consecutive_timesteps(&t, 2), [t, Timesteps(vec![75.0, 250.0, 5.0])]);
    }

    #[test]
    fn guidance_of_one_is_the_conditional_estimate() {
        let guided = |scale: f64| -> f64 {
            let scale = per_sample(&[scale], &picture(0.0));
            guide(picture(3.0), picture(1.0), scale).mean().into_scalar()
        };
        assert_eq!((guided(1.0), guided(0.0), guided(7.5)), (3.0, 1.0, 16.0));
    }

    #[test]
    fn the_true_denoiser_is_not_misled_by_more_steps() {
        let schedule = NoiseSchedule::from_alphas_cumprod(&[0.9, 0.7, 0.5, 0.3, 0.1]);
        let (x_0, eps) = (picture(0.4), picture(-1.3));
        let t = Timesteps::same(4.0, 1);
        let x_t = diffuse(x_0.clone(), eps, &schedule.coefficients(&t, &x_0));
        let mut seen = Vec::new();
        let mut denoiser = |x_t: Tensor<4>, t: &Timesteps| {
            seen.push(t.0[0]);
            let at = schedule.coefficients(t, &x_t);
            Estimate { x0: x_0.clone(), epsilon: (x_t - x_0.clone() * at.alpha) / at.sigma }
        };
        let estimate = consecutive_estimate(x_t, &t, 4, &schedule, &mut denoiser);
        assert_eq!(seen, [4.0, 3.0, 2.0, 1.0]);
        let error: f64 = (estimate - picture(0.4)).abs().max().into_scalar();
        assert!(error < 1e-15);
    }
}
