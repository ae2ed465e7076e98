//! Progressive distillation: a student makes in one step of DDIM what its teacher makes in two.
//!
//! `z_t = alpha_t x + sigma_t eps` is at a time `t` of the student's sampling, `t'` is half a step of the student nearer to
//! the clean end and `t''` a whole one. Samples are `[B, C, H, W]`. Sources: Salimans and Ho 2022 (arXiv 2202.00512); Meng
//! et al. 2023 (arXiv 2210.03142), who distil guidance before. `PROGRESSIVE.md` maps both to recipe fields and tests.

use add_plugin::{Coefficients, DenoiserCall, Estimate, NoiseSchedule, Timesteps};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::diffuse;

/// The clean end: one step of the schedule below its first timestep.
const CLEAN: f64 = -1.0;

/// The times of one step of the student, each for every sample of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct StepTimes {
    /// `t`, where student and teacher begin.
    pub start: Timesteps,
    /// `t' = t - 0.5 / N`, where the teacher's first step ends.
    pub middle: Timesteps,
    /// `t'' = t - 1 / N`, where both end; -1 for the clean end.
    pub end: Timesteps,
}

impl StepTimes {
    /// The steps at `places` of a student of `sampling_steps` on a schedule of `total` timesteps; place 0 is the student's
    /// last step, which ends clean. Salimans and Ho 2022, Algorithm 2: `t = i / N`, here rounded to the schedule.
    ///
    /// # Panics
    /// Panics when a place is not below `sampling_steps`, or the teacher's `2 sampling_steps` are more than `total`.
    pub fn at(total: usize, sampling_steps: usize, places: &[usize]) -> Self {
        let teacher = trailing_timesteps(total, 2 * sampling_steps);
        let at = |k: usize| k.checked_sub(1).map_or(CLEAN, |k| teacher[k] as f64);
        let times = |behind: usize| Timesteps(places.iter().map(|i| at(2 * (i + 1) - behind)).collect());
        Self { start: times(0), middle: times(1), end: times(2) }
    }
}

/// The timesteps of a sampler of `steps` on a schedule of `total`, ascending up to the last: `round(i total / steps) - 1`.
/// Those of half as many steps are every second one of them.
///
/// # Panics
/// Panics when `steps` is more than `total`.
pub fn trailing_timesteps(total: usize, steps: usize) -> Vec<usize> {
    assert!(steps <= total, "{steps} timesteps of a schedule that has {total}");
    // The order of the operations is that of the samplers' trailing spacing, so that both round alike.
    let at = |i: usize| (total as f64 * (1.0 - i as f64 / steps as f64)).round_ties_even() as usize - 1;
    (0..steps).rev().map(at).collect()
}

/// A deterministic step of DDIM, `z_s = alpha_s x_hat + sigma_s eps_hat`, from the estimate at `z_t` to the level `at_s`.
/// Salimans and Ho 2022, section 2; Song et al. 2021, Eq. (12) without noise.
pub fn ddim_step(estimate: Estimate, at_s: &Coefficients) -> Tensor<4> {
    diffuse(estimate.x0, estimate.epsilon, at_s)
}

/// Where two steps of the teacher from `z_t` over `t'` to `t''` lead: `z_t''`. Salimans and Ho 2022, Algorithm 2, "2 steps of
/// DDIM with teacher".
pub fn two_ddim_steps(
    z_t: Tensor<4>,
    times: &StepTimes,
    schedule: &NoiseSchedule,
    teacher: &mut DenoiserCall<'_>,
) -> Tensor<4> {
    let mut z = z_t;
    for (from, to) in [(&times.start, &times.middle), (&times.middle, &times.end)] {
        let estimate = teacher(z, from);
        let at = schedule.coefficients(to, &estimate.x0);
        z = ddim_step(estimate, &at);
    }
    z
}

/// The estimate of the clean sample with which one step from `z_t` leads to `z_end`:
/// `x_tilde = (z_t'' - (sigma_t'' / sigma_t) z_t) / (alpha_t'' - (sigma_t'' / sigma_t) alpha_t)`.
/// Salimans and Ho 2022, Algorithm 2, "teacher x_hat target". At the clean end it is `z_end` itself.
pub fn one_step_target(
    z_end: Tensor<4>,
    z_t: Tensor<4>,
    at_end: &Coefficients,
    at_t: &Coefficients,
) -> Tensor<4> {
    let ratio = at_end.sigma.clone() / at_t.sigma.clone();
    (z_end - z_t * ratio.clone()) / (at_end.alpha.clone() - ratio * at_t.alpha.clone())
}

/// `w(lambda_t)` of the loss `w(lambda_t) |x_tilde - x_hat(z_t)|^2`, by the signal-to-noise ratio. Salimans and Ho 2022,
/// section 4.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnrWeighting {
    /// [`truncated_snr`].
    #[default]
    TruncatedSnr,
    /// [`snr_plus_one`].
    SnrPlusOne,
}

impl SnrWeighting {
    /// The weight at a signal-to-noise ratio `alpha^2 / sigma^2`.
    pub fn weight(self, snr: f64) -> f64 {
        match self {
            Self::TruncatedSnr => truncated_snr(snr),
            Self::SnrPlusOne => snr_plus_one(snr),
        }
    }
}

/// "Truncated SNR": `max(alpha^2 / sigma^2, 1)`, the larger of the distances of `x` and of `eps`. Salimans and Ho 2022,
/// section 4.
pub fn truncated_snr(snr: f64) -> f64 {
    snr.max(1.0)
}

/// "SNR+1": `1 + alpha^2 / sigma^2`, the distance of `v`. Salimans and Ho 2022, section 4.
pub fn snr_plus_one(snr: f64) -> f64 {
    snr + 1.0
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};
    use proptest::prelude::*;

    use super::*;
    use crate::{epsilon, v};
    use add_plugin::Prediction;

    fn pixel(value: f64) -> Tensor<4> {
        Tensor::full([1, 1, 1, 1], value, (&Device::flex(), DType::F64))
    }

    fn value(x: Tensor<4>) -> f64 {
        x.into_scalar()
    }

    fn level(alpha: f64, sigma: f64) -> Coefficients {
        Coefficients::variance_preserving(pixel(alpha), pixel(sigma))
    }

    /// A teacher that says `x_hat = gain z + shift`.
    fn linear(
        schedule: &NoiseSchedule,
        gain: f64,
        shift: f64,
    ) -> impl FnMut(Tensor<4>, &Timesteps) -> Estimate {
        move |z: Tensor<4>, t: &Timesteps| {
            let x0 = z.clone() * gain + shift;
            let at = schedule.coefficients(t, &z);
            Estimate { epsilon: epsilon(Prediction::X0, x0.clone(), z, &at), x0 }
        }
    }

    fn target(schedule: &NoiseSchedule, times: &StepTimes, z_t: f64, gain: f64, shift: f64) -> (f64, f64) {
        let z_t = pixel(z_t);
        let z_end = two_ddim_steps(z_t.clone(), times, schedule, &mut linear(schedule, gain, shift));
        let [at_t, at_end] = [&times.start, &times.end].map(|t| schedule.coefficients(t, &z_t));
        (value(one_step_target(z_end.clone(), z_t, &at_end, &at_t)), value(z_end))
    }

    /// `(alpha, sigma)` is (0.96, 0.28), (0.8, 0.6), (0.6, 0.8), (0, 1).
    fn four() -> NoiseSchedule {
        NoiseSchedule::from_alphas_cumprod(&[0.9216, 0.64, 0.36, 0.0])
    }

    /// Worked out by hand for a teacher that says `x_hat = z / 2`, from `z_t = 1`.
    #[test]
    fn the_target_by_hand() {
        let between = |start: f64, middle: f64, end: f64| {
            let [start, middle, end] = [start, middle, end].map(|t| Timesteps(vec![t]));
            target(&four(), &StepTimes { start, middle, end }, 1.0, 0.5, 0.0)
        };
        // From pure noise: x 0.5, eps 1; z' = 0.6 x 0.5 + 0.8 = 1.1; x 0.55, eps 0.77 / 0.8; z'' = 0.44 + 0.5775.
        let (x, z) = between(3.0, 2.0, 1.0);
        assert!((z - 1.0175).abs() < 1e-14 && (x - 0.521_875).abs() < 1e-14, "{x} {z}");
        // x 0.5, eps 0.875; z' = 0.4 + 0.525; x 0.4625, eps 0.925; z'' = 0.444 + 0.259; (0.703 - 0.35) / 0.75.
        let (x, z) = between(2.0, 1.0, 0.0);
        assert!((z - 0.703).abs() < 1e-14 && (x - 0.353 / 0.75).abs() < 1e-14, "{x} {z}");
        // At the clean end the teacher's last estimate is the target.
        let (x, z) = between(2.0, 1.0, -1.0);
        assert!((z - 0.4625).abs() < 1e-14 && (x - 0.4625).abs() < 1e-14, "{x} {z}");
    }

    #[test]
    fn the_times_of_four_steps_by_hand() {
        let times = StepTimes::at(1000, 4, &[3, 0, 1]);
        assert_eq!(times.start, Timesteps(vec![999.0, 249.0, 499.0]));
        assert_eq!(times.middle, Timesteps(vec![874.0, 124.0, 374.0]));
        assert_eq!(times.end, Timesteps(vec![749.0, -1.0, 249.0]));
        // 31.25, 62.5 and 93.75 round to 31, 62 (the even side) and 94, less one.
        assert_eq!(trailing_timesteps(1000, 32)[..3], [30, 61, 93]);
    }

    #[test]
    fn the_weights_by_hand() {
        // alpha 0.6, sigma 0.8: SNR 0.5625; the other way round: 16 / 9.
        assert_eq!(
            (truncated_snr(0.5625).to_bits(), snr_plus_one(0.5625).to_bits()),
            (1f64.to_bits(), 1.5625f64.to_bits())
        );
        assert!((SnrWeighting::TruncatedSnr.weight(16.0 / 9.0) - 16.0 / 9.0).abs() < 1e-15);
        assert!((SnrWeighting::SnrPlusOne.weight(16.0 / 9.0) - 25.0 / 9.0).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn with_a_teacher_that_knows_the_sample_the_target_is_the_sample(
            x in -2.0..2.0_f64, eps in -2.0..2.0_f64, log in 0_u32..5, place in 0_usize..16,
        ) {
            let (schedule, steps) = (cosine(100), 1_usize << log);
            let times = StepTimes::at(100, steps, &[place % steps]);
            let (alpha, sigma) = schedule.level(times.start.0[0]);
            let (got, _) = target(&schedule, &times, alpha * x + sigma * eps, 0.0, x);
            prop_assert!((got - x).abs() < 1e-9, "{got} {x}");
        }

        #[test]
        fn one_step_with_the_target_lands_where_two_of_the_teacher_land(
            z_t in -2.0..2.0_f64, gain in -1.0..1.0_f64, shift in -1.0..1.0_f64, log in 0_u32..5, place in 0_usize..16,
        ) {
            let (schedule, steps) = (cosine(100), 1_usize << log);
            let times = StepTimes::at(100, steps, &[place % steps]);
            let (x, z_end) = target(&schedule, &times, z_t, gain, shift);
            let [at_t, at_end] = [&times.start, &times.end].map(|t| schedule.coefficients(t, &pixel(0.0)));
            let estimate = Estimate { x0: pixel(x), epsilon: epsilon(Prediction::X0, pixel(x), pixel(z_t), &at_t) };
            let landed = value(ddim_step(estimate, &at_end));
            prop_assert!((landed - z_end).abs() < 1e-9, "{landed} {z_end}");
        }

        #[test]
        fn halving_leaves_every_second_timestep(total in 1_usize..1200, log in 0_u32..8) {
            let steps = 1_usize << log;
            prop_assume!(2 * steps <= total);
            let (teacher, student) = (trailing_timesteps(total, 2 * steps), trailing_timesteps(total, steps));
            let second: Vec<usize> = teacher.iter().copied().skip(1).step_by(2).collect();
            prop_assert_eq!(&second, &student);
            prop_assert_eq!(student[steps - 1], total - 1);
            prop_assert!(teacher.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", teacher);
            let places: Vec<usize> = (0..steps).collect();
            let times = StepTimes::at(total, steps, &places);
            prop_assert_eq!(times.start, Timesteps::whole(student));
            prop_assert!(times.middle.0.iter().zip(&times.end.0).all(|(middle, end)| middle > end));
        }

        #[test]
        fn the_weights_are_the_distances_of_eps_and_of_v(
            x in -2.0..2.0_f64, other in -2.0..2.0_f64, z in -2.0..2.0_f64, angle in 0.05..1.5_f64,
        ) {
            let (at, snr) = (level(angle.cos(), angle.sin()), (angle.cos() / angle.sin()).powi(2));
            let as_eps = |x: f64| value(epsilon(Prediction::X0, pixel(x), pixel(z), &at));
            let as_v = |x: f64| value(v(Prediction::X0, pixel(x), pixel(z), &at));
            let (of_x, of_eps, of_v) =
                ((x - other).powi(2), (as_eps(x) - as_eps(other)).powi(2), (as_v(x) - as_v(other)).powi(2));
            let close = |got: f64, want: f64| (got - want).abs() < 1e-8 * (1.0 + want);
            prop_assert!(close(truncated_snr(snr) * of_x, of_x.max(of_eps)));
            prop_assert!(close(snr_plus_one(snr) * of_x, of_v));
        }
    }

    /// `alpha_t = cos(pi / 2 (t + 1) / total)`: pure noise at the last timestep.
    fn cosine(total: usize) -> NoiseSchedule {
        let alpha = |t: usize| (std::f64::consts::FRAC_PI_2 * (t + 1) as f64 / total as f64).cos();
        let alpha_bars: Vec<f64> = (0..total).map(|t| alpha(t).powi(2)).collect();
        NoiseSchedule::from_alphas_cumprod(&alpha_bars)
    }
}
