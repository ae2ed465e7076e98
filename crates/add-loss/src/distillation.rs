//! The distillation loss. ADD Eq. (4): `E[c(t) |x_hat_theta - x_hat_psi|^2]`.

use add_plugin::per_sample;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// How one sample's squared differences become one number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PixelReduction {
    /// The squared norm, as the paper writes it; the paper's `lambda = 2.5` belongs to it.
    #[default]
    Sum,
    /// Mean over the sample's values: does not depend on the resolution.
    Mean,
}

/// `c(t) |x_hat_theta - x_hat_psi|^2` `[1]`, mean over the batch. ADD Eq. (4).
///
/// Samples are `[B, C, H, W]`, `c` has one weight per sample. The gradient flows through `x_hat_theta`; a `target`
/// on the plain device is a constant.
pub fn distillation(
    x_hat_theta: Tensor<4>,
    target: Tensor<4>,
    c: &[f64],
    reduction: PixelReduction,
) -> Tensor<1> {
    let [batch, channels, height, width] = x_hat_theta.dims();
    assert_eq!(c.len(), batch, "one weight per sample");
    let values = match reduction {
        PixelReduction::Sum => 1,
        PixelReduction::Mean => channels * height * width,
    };
    let weight = per_sample(c, &target).div_scalar((batch * values) as f64);
    let difference = x_hat_theta - target;
    (difference.clone() * difference * weight).sum()
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use burn::tensor::{DType, Device, TensorData};
    use proptest::prelude::*;

    use super::*;

    fn pair(values: [f64; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), [2, 1, 1, 2]), (&Device::flex(), DType::F64))
    }

    fn loss(x: [f64; 4], target: [f64; 4], c: [f64; 2], reduction: PixelReduction) -> f64 {
        distillation(pair(x), pair(target), &c, reduction).into_scalar()
    }

    #[test]
    fn by_hand() {
        // squared norms 1 + 4 = 5 and 9; weights 1 and 0.5; mean over two samples
        let arguments = ([1.0, 2.0, 3.0, 0.0], [0.0; 4], [1.0, 0.5]);
        assert_eq!(loss(arguments.0, arguments.1, arguments.2, PixelReduction::Sum), 4.75);
        assert_eq!(loss(arguments.0, arguments.1, arguments.2, PixelReduction::Mean), 2.375);
    }

    #[test]
    fn the_gradient_is_twice_the_weighted_difference() {
        let x = pair([1.0, 2.0, 3.0, 0.0]).autodiff().require_grad();
        let gradients = distillation(x.clone(), pair([0.0; 4]), &[1.0, 0.5], PixelReduction::Sum).backward();
        let gradient: Vec<f64> = x.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
        assert_eq!(gradient, [1.0, 2.0, 1.5, 0.0]);
    }

    proptest! {
        #[test]
        fn it_is_zero_only_where_student_and_target_agree(
            x in prop::array::uniform4(-2.0..2.0_f64), shift in 0.01..1.0_f64, at in 0..4_usize,
        ) {
            let mut other = x;
            other[at] += shift;
            prop_assert_eq!(loss(x, x, [0.3, 0.7], PixelReduction::Sum), 0.0);
            prop_assert!(loss(other, x, [0.3, 0.7], PixelReduction::Sum) > 0.0);
        }

        #[test]
        fn it_is_linear_in_the_weight(
            x in prop::array::uniform4(-2.0..2.0_f64), c in prop::array::uniform2(0.0..2.0_f64), k in 0.0..9.0_f64,
        ) {
            let scaled = loss(x, [0.0; 4], c.map(|c| c * k), PixelReduction::Mean);
            prop_assert!((scaled - k * loss(x, [0.0; 4], c, PixelReduction::Mean)).abs() < 1e-12);
        }

        #[test]
        fn the_sum_is_the_mean_times_the_number_of_values(x in prop::array::uniform4(-2.0..2.0_f64)) {
            let [sum, mean] = [PixelReduction::Sum, PixelReduction::Mean].map(|r| loss(x, [0.0; 4], [1.0, 1.0], r));
            prop_assert!((sum - 2.0 * mean).abs() < 1e-12);
        }
    }
}
