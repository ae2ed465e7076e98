//! The boundary conditions of consistency models: near the data the function is the identity.

use add_plugin::per_sample;
use burn::tensor::Tensor;

/// Standard deviation of the data, `sigma_data`. Luo et al. 2023, appendix; Karras et al. 2022.
const SIGMA_DATA: f64 = 0.5;

/// The two factors of a consistency function at one timestep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Boundary {
    /// `c_skip(t)`, the factor of the input.
    pub skip: f64,
    /// `c_out(t)`, the factor of the network's estimate of `x_0`.
    pub out: f64,
}

/// `c_skip(t) = d^2 / (s^2 + d^2)` and `c_out(t) = s / sqrt(s^2 + d^2)`, with `s = timestep_scaling t` and `d = 0.5`.
///
/// At `t = 0` they are 1 and 0; far from it, 0 and 1. `t` is in training steps, from 0. Song et al. 2023, section 3, as Luo
/// et al. 2023 set it for latents: their `c_out` has no factor `d`, since the network's estimate is `x_0` itself.
pub fn boundary(t: f64, timestep_scaling: f64) -> Boundary {
    let scaled = t * timestep_scaling;
    let total = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
    Boundary { skip: SIGMA_DATA * SIGMA_DATA / total, out: scaled / total.sqrt() }
}

/// `f(x_t, t) = c_skip(t) x_t + c_out(t) x_0_hat`, the consistency function. Song et al. 2023, Eq. (5); Luo et al. 2023,
/// section 4.1.
///
/// `x_t` and the network's estimate `x_0_hat` are `[B, C, H, W]`, with one pair of factors per sample.
pub fn consistency_function(x_t: Tensor<4>, x_0_hat: Tensor<4>, at: &[Boundary]) -> Tensor<4> {
    let factor = |f: fn(&Boundary) -> f64| per_sample(&at.iter().map(f).collect::<Vec<_>>(), &x_t);
    let (skip, out) = (factor(|at| at.skip), factor(|at| at.out));
    x_t * skip + x_0_hat * out
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, TensorData};
    use proptest::prelude::*;

    use super::*;

    fn pictures<const N: usize>(values: [f64; N]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), [N, 1, 1, 1]), (&Device::flex(), DType::F64))
    }

    fn numbers(x: Tensor<4>) -> Vec<f64> {
        x.into_data().try_to_vec().expect("f64")
    }

    #[test]
    fn by_hand() {
        // s = 0.5: c_skip = 0.25 / 0.5, c_out = 0.5 / sqrt(0.5)
        let half = boundary(2.0, 0.25);
        assert!((half.skip - 0.5).abs() < 1e-15 && (half.out - 0.5_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn the_released_schedulers_factors() {
        // LCMScheduler at its lowest timestep of fifty, s = 190: 0.25 / 36100.25 and 190 / sqrt(36100.25).
        let lowest = boundary(19.0, 10.0);
        assert!((lowest.skip - 6.925_159_798_062_34e-6).abs() < 1e-18, "{}", lowest.skip);
        assert!((lowest.out - 0.999_996_537_414_106_2).abs() < 1e-15, "{}", lowest.out);
    }

    #[test]
    fn each_sample_has_its_own_factors() {
        let at = [Boundary { skip: 1.0, out: 0.0 }, Boundary { skip: 0.5, out: 2.0 }];
        assert_eq!(
            numbers(consistency_function(pictures([3.0, 4.0]), pictures([9.0, -1.0]), &at)),
            [3.0, 0.0]
        );
    }

    proptest! {
        #[test]
        fn at_the_clean_end_the_function_is_the_identity(
            x in -3.0..3.0_f64, x_0_hat in -3.0..3.0_f64, timestep_scaling in 1e-3..1e3_f64,
        ) {
            let at = boundary(0.0, timestep_scaling);
            prop_assert_eq!(numbers(consistency_function(pictures([x]), pictures([x_0_hat]), &[at])), [x]);
        }

        #[test]
        fn the_estimate_takes_over_as_the_noise_rises(
            t in 0.0..999.0_f64, step in 1e-3..1.0_f64, timestep_scaling in 1e-2..100.0_f64,
        ) {
            let (low, high) = (boundary(t, timestep_scaling), boundary(t + step, timestep_scaling));
            prop_assert!(low.skip >= high.skip && low.out <= high.out && high.skip > 0.0 && high.out <= 1.0);
            // skip = 1 - out^2 for every t.
            prop_assert!((low.skip + low.out * low.out - 1.0).abs() < 1e-12);
        }
    }
}
