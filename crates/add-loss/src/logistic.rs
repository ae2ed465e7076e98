//! The adversarial losses of the original GAN in its non-saturating form. Goodfellow et al. 2014, Eq. (1) and section 3.
//!
//! Logits are `[B, N]` per head. Samples and tokens are always averaged; heads as the recipe says.

use add_plugin::Logits;
use burn::tensor::{Tensor, activation::log_sigmoid};

use crate::Reduction;

/// `log(1 + e^x)` of each value, the negative logarithm of `sigmoid(-x)`.
fn softplus(x: Tensor<2>) -> Tensor<2> {
    log_sigmoid(x.neg()).neg()
}

/// The generator's loss `[1]`: `E[-log sigmoid(D(fake))]`.
pub fn logistic_generator(fake: &[Logits], reduction: Reduction) -> Tensor<1> {
    reduction.over_heads(fake.iter().map(|Logits(logits)| softplus(logits.clone().neg()).mean()).collect())
}

/// The discriminator's losses `[1]` on real samples and on fakes: `E[-log sigmoid(D(real))]` and
/// `E[-log(1 - sigmoid(D(fake)))]`.
pub fn logistic_discriminator(
    real: &[Logits],
    fake: &[Logits],
    reduction: Reduction,
) -> (Tensor<1>, Tensor<1>) {
    let on_fake = fake.iter().map(|Logits(logits)| softplus(logits.clone()).mean()).collect();
    (logistic_generator(real, reduction), reduction.over_heads(on_fake))
}

#[cfg(test)]
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
        // log 2 at 0; log(1 + 1/3) and log(1 + 3) at a logit of log 3.
        let three = 3.0_f64.ln();
        let (real, fake) = ([head(&[0.0, three])], [head(&[three, 0.0]), head(&[-three])]);
        let (on_real, on_fake) = logistic_discriminator(&real, &fake, Reduction::Sum);
        let (near, far) = ((4.0_f64 / 3.0).ln(), 4.0_f64.ln());
        assert!((value(on_real) - f64::midpoint(2.0_f64.ln(), near)).abs() < 1e-12);
        assert!((value(on_fake) - f64::midpoint(2.0_f64.ln(), far) - near).abs() < 1e-12);
        assert!((value(logistic_generator(&fake[1..], Reduction::Mean)) - far).abs() < 1e-12);
    }

    #[test]
    fn the_gradient_is_a_sigmoid_also_at_zero_and_far_from_it() {
        let device = Device::flex().autodiff();
        let logits = Tensor::<2>::from_data([[0.0, 50.0, -200.0, 200.0]], &device).require_grad();
        let loss = logistic_generator(&[Logits(logits.clone())], Reduction::Mean);
        assert!(loss.clone().inner().into_scalar::<f32>().is_finite());
        let gradient: Vec<f32> = logits.grad(&loss.backward()).unwrap().into_data().try_to_vec().unwrap();
        for (got, want) in gradient.into_iter().zip([-0.125, 0.0, -0.25, 0.0]) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }

    proptest! {
        #[test]
        fn the_two_sides_differ_by_the_logit(logit in -20.0..20.0_f64) {
            // softplus(l) - softplus(-l) = l
            let (on_real, on_fake) = logistic_discriminator(&[head(&[logit])], &[head(&[logit])], Reduction::Mean);
            prop_assert!((value(on_fake) - value(on_real) - logit).abs() < 1e-9);
        }

        #[test]
        fn losses_are_positive_and_the_generator_gains_by_a_higher_logit(a in -9.0..9.0_f64, more in 0.1..3.0_f64) {
            let loss = |logit| value(logistic_generator(&[head(&[logit])], Reduction::Mean));
            prop_assert!(loss(a) > loss(a + more) && loss(a + more) > 0.0);
        }
    }
}
