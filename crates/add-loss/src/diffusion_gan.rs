//! Diffusion GANs: a denoiser that jumps, judged one jump further down. Sources: Xu et al. 2023 (UFOGen, arXiv 2311.09257),
//! section 4; Xu et al. 2023 (SIDDMs, arXiv 2306.12511), whose reconstruction term it takes over.

use add_plugin::{NoiseSchedule, Timesteps, per_sample};
use burn::tensor::Tensor;

/// `gamma_t` of a jump from timestep `t` down to `s`, which may be the clean -1: the factor that makes `|x_0 - x_0'|^2` the
/// divergence of the forward steps from both to `x_t`.
///
/// For `x_s` and `x_s'` of the same noise, `KL(q(x_t | x_s) || q(x_t | x_s'))` is `(alpha_t / alpha_s)^2 |x_s - x_s'|^2` over twice
/// the variance of the step, `sigma_t^2 - (alpha_t sigma_s / alpha_s)^2`, and `x_s - x_s'` is `alpha_s (x_0 - x_0')`. On a variance
/// preserving schedule that is `alpha_bar_s (1 - beta) / (2 beta)`. At pure noise it is 0: nothing can be reconstructed.
pub fn reconstruction_weight(schedule: &NoiseSchedule, t: f64, s: f64) -> f64 {
    let ((alpha, sigma), (alpha_s, sigma_s)) = (schedule.level(t), schedule.level(s));
    if alpha <= 0.0 {
        return 0.0;
    }
    let variance = sigma.powi(2) - (alpha * sigma_s / alpha_s).powi(2);
    alpha.powi(2) / (2.0 * variance)
}

/// Where a jump from each of `t` ends: at the next lower of the ascending `known` timesteps, or at the clean -1 below them.
///
/// # Panics
/// Panics when `t` holds a timestep that is not known.
pub fn jump_ends(known: &[usize], t: &Timesteps) -> Timesteps {
    let end = |t: &f64| {
        let at = known.iter().position(|&known| (known as f64 - t).abs() < 0.5).expect("a known timestep");
        at.checked_sub(1).map_or(-1.0, |before| known[before] as f64)
    };
    Timesteps(t.0.iter().map(end).collect())
}

/// `E[gamma_t |x_0 - x_0'|^2]` `[1]`, the mean over batch and values, with one weight for each sample. UFOGen, section 4.
///
/// Both are `[B, C, H, W]`. The gradient flows through `estimate`; `x_0` lies on the plain device.
pub fn reconstruction(estimate: Tensor<4>, x_0: Tensor<4>, gamma: &[f64]) -> Tensor<1> {
    let gamma = per_sample(gamma, &x_0);
    ((estimate - x_0).square() * gamma).mean()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, TensorData};
    use proptest::prelude::*;

    use super::*;

    fn pictures<const N: usize>(values: [f64; N]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), [N / 2, 1, 1, 2]), (&Device::flex(), DType::F64))
    }

    #[test]
    fn by_hand() {
        let schedule = NoiseSchedule::from_alphas_cumprod(&[0.64, 0.36, 0.0]);
        let weight = |t: i32, s: i32| reconstruction_weight(&schedule, f64::from(t), f64::from(s));
        // From the clean end: half the signal-to-noise ratio, 0.64 / 0.72.
        assert!((weight(0, -1) - 0.64 / 0.72).abs() < 1e-12);
        // beta = 1 - 0.36 / 0.64 = 0.4375: 0.64 x 0.5625 / 0.875.
        assert!((weight(1, 0) - 0.64 * 0.5625 / 0.875).abs() < 1e-12);
        assert!(weight(2, 1).abs() < 1e-15, "at pure noise");
        // Weights 2 and 0.5 of 1 + 4 and 0 + 16, over four values.
        let loss =
            reconstruction(pictures([1.0, 2.0, 3.0, 0.0]), pictures([0.0, 0.0, 3.0, 4.0]), &[2.0, 0.5]);
        assert!((loss.into_scalar::<f64>() - 4.5).abs() < 1e-15);
    }

    #[test]
    fn a_jump_ends_at_the_timestep_below() {
        let ends = jump_ends(&[249, 499, 999], &Timesteps::whole([999, 249, 499]));
        assert_eq!(ends, Timesteps(vec![499.0, -1.0, 249.0]));
    }

    proptest! {
        /// Against the divergence of two Gaussians of one variance, `(difference of the means)^2 / (2 variance)`.
        #[test]
        fn the_weight_makes_the_distance_of_pictures_the_divergence_of_the_forward_steps(
            x in -2.0..2.0_f64, other in -2.0..2.0_f64, eps in -2.0..2.0_f64, t in 1..9_usize, down in 1..10_usize,
        ) {
            let alpha_bars: Vec<f64> = (0..9).map(|t| 0.95 - 0.1 * f64::from(t)).collect();
            let schedule = NoiseSchedule::from_alphas_cumprod(&alpha_bars);
            let (t, s) = (t as f64, (t as f64 - down as f64).max(-1.0));
            let ((alpha, _), (alpha_s, sigma_s)) = (schedule.level(t), schedule.level(s));
            let ratio = alpha / alpha_s;
            let beta = 1.0 - ratio.powi(2);
            let mean = |x: f64| ratio * (alpha_s * x + sigma_s * eps);
            let divergence = (mean(x) - mean(other)).powi(2) / (2.0 * beta);
            let got = reconstruction_weight(&schedule, t, s) * (x - other).powi(2);
            prop_assert!((got - divergence).abs() < 1e-9 * (1.0 + divergence), "{got} {divergence}");
        }

        #[test]
        fn it_falls_as_the_noise_rises_and_as_the_jump_grows(t in 1..8_usize, s in 0..7_usize) {
            prop_assume!(s < t);
            let alpha_bars: Vec<f64> = (0..9).map(|t| 0.95 - 0.1 * f64::from(t)).collect();
            let weight = |t: usize, s: i32| {
                reconstruction_weight(&NoiseSchedule::from_alphas_cumprod(&alpha_bars), t as f64, f64::from(s))
            };
            prop_assert!(weight(t, s as i32) > weight(t + 1, s as i32));
            prop_assert!(weight(t, s as i32) > weight(t, s as i32 - 1));
        }
    }
}
