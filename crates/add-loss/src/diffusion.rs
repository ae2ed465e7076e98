//! Forward diffusion and the conversions between what a denoiser may predict.
//!
//! `x_t = alpha_t x_0 + sigma_t eps`, `v = alpha_t eps - sigma_t x_0`. Samples are `[B, C, H, W]`, coefficients
//! `[B, 1, 1, 1]` as [`NoiseSchedule::coefficients`](add_plugin::NoiseSchedule::coefficients) gives them.
//! Sources: ADD, section 3.1; Salimans and Ho 2022, section 4 and appendix D for `v`.

use add_plugin::{Prediction, per_sample};
use burn::tensor::Tensor;

/// `x_t = alpha_t x_0 + sigma_t eps`. ADD, section 3.1.
pub fn diffuse(x_0: Tensor<4>, eps: Tensor<4>, alpha: Tensor<4>, sigma: Tensor<4>) -> Tensor<4> {
    x_0 * alpha + eps * sigma
}

/// `x_0` from a denoiser's `output` at `x_t`.
///
/// From a noise prediction it is `(x_t - sigma_t eps) / alpha_t`, as in ADD Eq. (4): not finite where alpha is 0.
pub fn x0(
    prediction: Prediction,
    output: Tensor<4>,
    x_t: Tensor<4>,
    alpha: Tensor<4>,
    sigma: Tensor<4>,
) -> Tensor<4> {
    match prediction {
        Prediction::Epsilon => (x_t - output * sigma) / alpha,
        Prediction::V => x_t * alpha - output * sigma,
        Prediction::X0 => output,
    }
}

/// `eps` from a denoiser's `output` at `x_t`; from an `x_0` prediction it is not finite where sigma is 0.
pub fn epsilon(
    prediction: Prediction,
    output: Tensor<4>,
    x_t: Tensor<4>,
    alpha: Tensor<4>,
    sigma: Tensor<4>,
) -> Tensor<4> {
    match prediction {
        Prediction::Epsilon => output,
        Prediction::V => x_t * sigma + output * alpha,
        Prediction::X0 => (x_t - output * alpha) / sigma,
    }
}

/// `v` from a denoiser's `output` at `x_t`; finite where the two above are.
pub fn v(
    prediction: Prediction,
    output: Tensor<4>,
    x_t: Tensor<4>,
    alpha: Tensor<4>,
    sigma: Tensor<4>,
) -> Tensor<4> {
    match prediction {
        // alpha eps - sigma x_0 with x_0 = (x_t - sigma eps) / alpha, and alpha^2 + sigma^2 = 1.
        Prediction::Epsilon => (output - x_t * sigma) / alpha,
        Prediction::V => output,
        Prediction::X0 => (x_t * alpha - output) / sigma,
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

    #[test]
    fn by_hand() {
        // alpha 0.6, sigma 0.8, x_0 = 2, eps = -1: x_t = 0.4, v = -0.6 - 1.6 = -2.2
        let (alpha, sigma) = (one(0.6), one(0.8));
        assert!(close(diffuse(one(2.0), one(-1.0), alpha.clone(), sigma.clone()), 0.4));
        assert!(close(v(Prediction::Epsilon, one(-1.0), one(0.4), alpha.clone(), sigma.clone()), -2.2));
        assert!(close(x0(Prediction::V, one(-2.2), one(0.4), alpha.clone(), sigma.clone()), 2.0));
        assert!(close(epsilon(Prediction::V, one(-2.2), one(0.4), alpha, sigma), -1.0));
    }

    #[test]
    fn at_pure_noise_x0_is_minus_v() {
        assert_eq!(value(x0(Prediction::V, one(3.0), one(5.0), one(0.0), one(1.0))), -3.0);
        assert_eq!(value(epsilon(Prediction::V, one(3.0), one(5.0), one(0.0), one(1.0))), 5.0);
    }

    #[test]
    fn only_the_named_samples_become_noise() {
        let x_s = pure_noise_where(&[false, true], many(&[1.0, 2.0]), many(&[-3.0, -4.0]));
        assert_eq!(x_s.into_data().try_to_vec::<f64>().unwrap(), [1.0, -4.0]);
    }

    proptest! {
        #[test]
        fn every_prediction_gives_back_x0_eps_and_v(
            x_0 in -3.0..3.0_f64, eps in -3.0..3.0_f64, angle in 0.01..1.56_f64, form in 0..3_usize,
        ) {
            let (alpha, sigma) = (angle.cos(), angle.sin());
            let velocity = alpha * eps - sigma * x_0;
            let (prediction, output) =
                [(Prediction::Epsilon, eps), (Prediction::V, velocity), (Prediction::X0, x_0)][form];
            let x_t = diffuse(one(x_0), one(eps), one(alpha), one(sigma));
            let args = || (prediction, one(output), x_t.clone(), one(alpha), one(sigma));
            let call = |f: fn(Prediction, Tensor<4>, Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>| {
                let (p, o, x, a, s) = args();
                f(p, o, x, a, s)
            };
            prop_assert!(close(call(x0), x_0) && close(call(epsilon), eps) && close(call(v), velocity));
        }
    }
}
