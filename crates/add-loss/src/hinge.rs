//! The adversarial losses: hinge on every token's logit. ADD Eq. (2) and (3); Lim and Ye 2017.
//!
//! Logits are `[B, N]` per head. Samples and tokens are always averaged; heads as the recipe says.

use add_plugin::Logits;
use burn::tensor::{Tensor, activation::relu};
use serde::{Deserialize, Serialize};

/// How the heads' losses become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reduction {
    /// Mean over heads: the loss does not grow with their number.
    #[default]
    Mean,
    /// Sum over heads, as the paper writes it.
    Sum,
}

impl Reduction {
    /// One loss `[1]` from one for each head.
    ///
    /// # Panics
    /// Panics without heads.
    pub fn over_heads(self, losses: Vec<Tensor<1>>) -> Tensor<1> {
        let heads = losses.len();
        let sum =
            losses.into_iter().reduce(|sum, loss| sum + loss).expect("a discriminator has at least one head");
        match self {
            // Not a division: Burn's gradient of one by a scalar is computed in f32.
            Self::Mean => sum.mul_scalar(1.0 / heads as f64),
            Self::Sum => sum,
        }
    }
}

/// The student's adversarial loss `[1]`: `-E[sum_k D_k(F_k(x_hat_theta))]`. ADD Eq. (2).
pub fn hinge_generator(fake: &[Logits], reduction: Reduction) -> Tensor<1> {
    reduction.over_heads(fake.iter().map(|Logits(logits)| logits.clone().mean().neg()).collect())
}

/// The discriminator's losses `[1]` on real pictures and on fakes, without R1. ADD Eq. (3):
/// `E[sum_k max(0, 1 - D_k(F_k(x_0)))]` and `E[sum_k max(0, 1 + D_k(F_k(x_hat_theta)))]`.
pub fn hinge_discriminator(real: &[Logits], fake: &[Logits], reduction: Reduction) -> (Tensor<1>, Tensor<1>) {
    let hinge = |logits: Tensor<2>| relu(logits.add_scalar(1.0)).mean();
    let real = real.iter().map(|Logits(logits)| hinge(logits.clone().neg())).collect();
    let fake = fake.iter().map(|Logits(logits)| hinge(logits.clone())).collect();
    (reduction.over_heads(real), reduction.over_heads(fake))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use burn::tensor::{DType, Device, TensorData};
    use proptest::prelude::*;

    use super::*;

    fn head(values: &[f64]) -> Logits {
        Logits(Tensor::from_data(
            TensorData::new(values.to_vec(), [1, values.len()]),
            (&Device::flex(), DType::F64),
        ))
    }

    fn value(loss: Tensor<1>) -> f64 {
        loss.into_scalar()
    }

    #[test]
    fn by_hand() {
        let (real, fake) = ([head(&[0.0, 3.0]), head(&[-1.0])], [head(&[-2.0, 1.0]), head(&[0.5])]);
        let (on_real, on_fake) = hinge_discriminator(&real, &fake, Reduction::Sum);
        // heads: (1 + 0) / 2 and 2; (0 + 2) / 2 and 1.5
        assert_eq!((value(on_real), value(on_fake)), (2.5, 2.5));
        // heads: 0.5 and -0.5
        assert_eq!(value(hinge_generator(&fake, Reduction::Sum)), 0.0);
        assert_eq!(value(hinge_generator(&fake[1..], Reduction::Mean)), -0.5);
    }

    #[test]
    fn beyond_the_margin_there_is_no_gradient() {
        let device = Device::flex().autodiff();
        let logits = Tensor::<2>::from_data([[-3.0, 0.5, 2.0]], &device).require_grad();
        let (real, fake) =
            hinge_discriminator(&[Logits(logits.clone())], &[Logits(logits.clone())], Reduction::Mean);
        let third = 1.0 / 3.0_f32;
        let on_real: Vec<f32> = logits.grad(&real.backward()).unwrap().into_data().try_to_vec().unwrap();
        assert_eq!(on_real, [-third, -third, 0.0]);
        let on_fake: Vec<f32> = logits.grad(&fake.backward()).unwrap().into_data().try_to_vec().unwrap();
        assert_eq!(on_fake, [0.0, third, third]);
    }

    proptest! {
        #[test]
        fn discriminator_losses_are_not_negative(a in -5.0..5.0_f64, b in -5.0..5.0_f64) {
            let (real, fake) = hinge_discriminator(&[head(&[a, b])], &[head(&[b, a])], Reduction::Mean);
            prop_assert!(value(real) >= 0.0 && value(fake) >= 0.0);
        }

        #[test]
        fn a_separating_discriminator_has_no_loss(margin in 1.0..5.0_f64) {
            let (real, fake) = hinge_discriminator(&[head(&[margin])], &[head(&[-margin])], Reduction::Sum);
            prop_assert_eq!(value(real) + value(fake), 0.0);
        }

        #[test]
        fn the_sum_over_heads_is_their_number_times_the_mean(a in -5.0..5.0_f64, b in -5.0..5.0_f64) {
            let (fake, real) = ([head(&[a]), head(&[b])], [head(&[b]), head(&[a])]);
            let total = |reduction| {
                let (on_real, on_fake) = hinge_discriminator(&real, &fake, reduction);
                value(on_real) + value(on_fake) + value(hinge_generator(&fake, reduction))
            };
            prop_assert!((total(Reduction::Sum) - 2.0 * total(Reduction::Mean)).abs() < 1e-12);
        }
    }
}
