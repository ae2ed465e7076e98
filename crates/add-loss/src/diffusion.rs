//! Forward diffusion and the conversions between what a denoiser may predict.
//!
//! `x_t = alpha_t x_0 + sigma_t eps`, `v = alpha_t eps - sigma_t x_0`, `u = eps - x_0`. Samples are `[B, C, H, W]`,
//! coefficients `[B, 1, 1, 1]` as [`NoiseSchedule::coefficients`](add_plugin::NoiseSchedule::coefficients) gives them.
//! They may be any numbers that are not both 0: with `p = alpha^2 + sigma^2`, which is 1 on a variance preserving
//! schedule and left out there,
//!
//! ```text
//! p x_0 = alpha x_t - sigma v        (alpha + sigma) x_0 = x_t - sigma u
//! p eps = sigma x_t + alpha v        (alpha + sigma) eps = x_t + alpha u
//! ```
//!
//! Sources: ADD, section 3.1; Salimans and Ho 2022, section 4 and appendix D for `v`; Liu et al. 2022 (rectified flow)
//! and Esser et al. 2024 (Stable Diffusion 3) for `u`.

use add_plugin::{Coefficients, Prediction, per_sample};
use burn::tensor::Tensor;

/// `x_t = alpha_t x_0 + sigma_t eps`. ADD, section 3.1.
pub fn diffuse(x_0: Tensor<4>, eps: Tensor<4>, at: &Coefficients) -> Tensor<4> {
    x_0 * at.alpha.clone() + eps * at.sigma.clone()
}

/// `x_0` from a denoiser's `output` at `x_t`.
///
/// From a noise prediction it is `(x_t - sigma_t eps) / alpha_t`, as in ADD Eq. (4): not finite where alpha is 0.
pub fn x0(prediction: Prediction, output: Tensor<4>, x_t: Tensor<4>, at: &Coefficients) -> Tensor<4> {
    let (alpha, sigma) = (at.alpha.clone(), at.sigma.clone());
    match prediction {
        Prediction::Epsilon => (x_t - output * sigma) / alpha,
        Prediction::V => over_power(x_t * alpha - output * sigma, at),
        Prediction::X0 => output,
        Prediction::Flow => (x_t - output * sigma.clone()) / (alpha + sigma),
    }
}

/// `eps` from a denoiser's `output` at `x_t`; from an `x_0` prediction it is not finite where sigma is 0.
pub fn epsilon(prediction: Prediction, output: Tensor<4>, x_t: Tensor<4>, at: &Coefficients) -> Tensor<4> {
    let (alpha, sigma) = (at.alpha.clone(), at.sigma.clone());
    match prediction {
        Prediction::Epsilon => output,
        Prediction::V => over_power(x_t * sigma + output * alpha, at),
        Prediction::X0 => (x_t - output * alpha) / sigma,
        Prediction::Flow => (x_t + output * alpha.clone()) / (alpha + sigma),
    }
}

/// `v` from a denoiser's `output` at `x_t`; finite where the two above are.
pub fn v(prediction: Prediction, output: Tensor<4>, x_t: Tensor<4>, at: &Coefficients) -> Tensor<4> {
    let (alpha, sigma) = (at.alpha.clone(), at.sigma.clone());
    match prediction {
        // alpha eps - sigma x_0 with x_0 = (x_t - sigma eps) / alpha.
        Prediction::Epsilon => (times_power(output, at) - x_t * sigma) / alpha,
        Prediction::V => output,
        Prediction::X0 => (x_t * alpha - times_power(output, at)) / sigma,
        // alpha eps - sigma x_0 with both from u.
        Prediction::Flow => {
            (x_t * (alpha.clone() - sigma.clone()) + times_power(output, at)) / (alpha + sigma)
        }
    }
}

/// `u = eps - x_0` from a denoiser's `output` at `x_t`; finite where the two estimates are.
pub fn flow(prediction: Prediction, output: Tensor<4>, x_t: Tensor<4>, at: &Coefficients) -> Tensor<4> {
    let (alpha, sigma) = (at.alpha.clone(), at.sigma.clone());
    match prediction {
        // eps - x_0 with x_0 = (x_t - sigma eps) / alpha.
        Prediction::Epsilon => (output * (alpha.clone() + sigma) - x_t) / alpha,
        // (sigma x_t + alpha v - alpha x_t + sigma v) / p
        Prediction::V => over_power(x_t * (sigma.clone() - alpha.clone()) + output * (alpha + sigma), at),
        // eps - x_0 with eps = (x_t - alpha x_0) / sigma.
        Prediction::X0 => (x_t - output * (alpha + sigma.clone())) / sigma,
        Prediction::Flow => output,
    }
}

/// `x / (alpha^2 + sigma^2)`, which is `x` itself on a variance preserving schedule.
fn over_power(x: Tensor<4>, at: &Coefficients) -> Tensor<4> {
    match &at.power {
        None => x,
        Some(power) => x / power.clone(),
    }
}

/// `x (alpha^2 + sigma^2)`, which is `x` itself on a variance preserving schedule.
fn times_power(x: Tensor<4>, at: &Coefficients) -> Tensor<4> {
    match &at.power {
        None => x,
        Some(power) => x * power.clone(),
    }
}

/// Input replacement: zero terminal SNR for a noise-predicting student without touching its schedule.
///
/// Where `replace` holds, `x_s` becomes the noise `eps` itself, as in inference; the model's own small `alpha_s`
/// stays in the formula for `x_0`, which would otherwise divide by zero.
pub fn pure_noise_where(replace: &[bool], x_s: Tensor<4>, eps: Tensor<4>) -> Tensor<4> {
    let replace: Vec<f64> = replace.iter().map(|&replace| f64::from(u8::from(replace))).collect();
    let replace = per_sample(&replace, &x_s);
    let keep = replace.clone().neg().add_scalar(1.0);
    x_s * keep + eps * replace
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use burn::tensor::{DType, Device, TensorData};
    use proptest::prelude::*;

    use super::*;

    fn one(value: f64) -> Tensor<4> {
        many(&[value])
    }

    fn many(values: &[f64]) -> Tensor<4> {
        Tensor::from_data(
            TensorData::new(values.to_vec(), [values.len(), 1, 1, 1]),
            (&Device::flex(), DType::F64),
        )
    }

    fn value(tensor: Tensor<4>) -> f64 {
        tensor.into_scalar()
    }

    fn close(got: Tensor<4>, want: f64) -> bool {
        let got = value(got);
        (got - want).abs() < 1e-9 * (1.0 + want.abs())
    }

    fn preserving(alpha: f64, sigma: f64) -> Coefficients {
        Coefficients::variance_preserving(one(alpha), one(sigma))
    }

    #[test]
    fn by_hand() {
        // alpha 0.6, sigma 0.8, x_0 = 2, eps = -1: x_t = 0.4, v = -0.6 - 1.6 = -2.2
        let at = preserving(0.6, 0.8);
        assert!(close(diffuse(one(2.0), one(-1.0), &at), 0.4));
        assert!(close(v(Prediction::Epsilon, one(-1.0), one(0.4), &at), -2.2));
        assert!(close(x0(Prediction::V, one(-2.2), one(0.4), &at), 2.0));
        assert!(close(epsilon(Prediction::V, one(-2.2), one(0.4), &at), -1.0));
    }

    #[test]
    fn rectified_flow_by_hand() {
        // alpha 0.75, sigma 0.25, x_0 = 2, eps = -1: x_t = 1.25, u = -3, v = -0.75 - 0.5 = -1.25
        let at = Coefficients::any(one(0.75), one(0.25));
        assert_eq!(value(diffuse(one(2.0), one(-1.0), &at)), 1.25);
        assert_eq!(value(x0(Prediction::Flow, one(-3.0), one(1.25), &at)), 2.0);
        assert_eq!(value(epsilon(Prediction::Flow, one(-3.0), one(1.25), &at)), -1.0);
        assert_eq!(value(v(Prediction::Flow, one(-3.0), one(1.25), &at)), -1.25);
        assert_eq!(value(flow(Prediction::V, one(-1.25), one(1.25), &at)), -3.0);
    }

    #[test]
    fn at_pure_noise_x0_is_minus_v() {
        let at = preserving(0.0, 1.0);
        assert_eq!(value(x0(Prediction::V, one(3.0), one(5.0), &at)), -3.0);
        assert_eq!(value(epsilon(Prediction::V, one(3.0), one(5.0), &at)), 5.0);
    }

    #[test]
    fn only_the_named_samples_become_noise() {
        let x_s = pure_noise_where(&[false, true], many(&[1.0, 2.0]), many(&[-3.0, -4.0]));
        assert_eq!(x_s.into_data().try_to_vec::<f64>().unwrap(), [1.0, -4.0]);
    }

    type Conversion = fn(Prediction, Tensor<4>, Tensor<4>, &Coefficients) -> Tensor<4>;

    /// Every form of a prediction gives every other form back.
    fn check(x_0: f64, eps: f64, alpha: f64, sigma: f64, at: &Coefficients) -> Result<(), TestCaseError> {
        let forms: [(Prediction, f64, Conversion); 4] = [
            (Prediction::Epsilon, eps, epsilon),
            (Prediction::V, alpha * eps - sigma * x_0, v),
            (Prediction::X0, x_0, x0),
            (Prediction::Flow, eps - x_0, flow),
        ];
        let x_t = diffuse(one(x_0), one(eps), at);
        for (prediction, output, _) in forms {
            for (wanted, want, convert) in forms {
                let got = convert(prediction, one(output), x_t.clone(), at);
                prop_assert!(close(got.clone(), want), "{prediction:?} to {wanted:?}: {} {want}", value(got));
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_prediction_gives_back_x0_eps_v_and_flow(
            x_0 in -3.0..3.0_f64, eps in -3.0..3.0_f64, angle in 0.01..1.56_f64,
        ) {
            let (alpha, sigma) = (angle.cos(), angle.sin());
            check(x_0, eps, alpha, sigma, &preserving(alpha, sigma))?;
        }

        #[test]
        fn the_conversions_are_each_others_inverse_on_any_schedule(
            x_0 in -3.0..3.0_f64, eps in -3.0..3.0_f64, alpha in 0.05..3.0_f64, sigma in 0.05..20.0_f64,
        ) {
            check(x_0, eps, alpha, sigma, &Coefficients::any(one(alpha), one(sigma)))?;
        }

        /// No conversion of `v` or `u` divides by alpha, so pure noise is an ordinary level for them.
        #[test]
        fn v_and_flow_are_finite_at_pure_noise(
            x_0 in -3.0..3.0_f64, eps in -3.0..3.0_f64, sigma in 0.05..80.0_f64,
        ) {
            let at = Coefficients::any(one(0.0), one(sigma));
            let x_t = diffuse(one(x_0), one(eps), &at);
            for (prediction, output) in [(Prediction::V, -sigma * x_0), (Prediction::Flow, eps - x_0)] {
                prop_assert!(close(x0(prediction, one(output), x_t.clone(), &at), x_0));
                prop_assert!(close(epsilon(prediction, one(output), x_t.clone(), &at), eps));
            }
        }
    }
}
