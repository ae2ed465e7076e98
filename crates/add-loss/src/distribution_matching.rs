//! Distribution matching distillation: the difference of two scores moves the generator.
//!
//! One denoiser knows the real distribution, a second one, trained beside the generator, that of its fakes. Diffused to the
//! same `x_t`, the fake is led by what the first says of it and away from what the second says. Sources: Yin et al. 2023
//! (DMD, arXiv 2311.18828), Eq. (7) and (8); Yin et al. 2024 (DMD2, arXiv 2405.14867), section 3 and the public training
//! code.

use burn::tensor::Tensor;

/// The gradient of the divergence at each fake `x` `[B, C, H, W]`: `(mu_fake - mu_real) / mean|x - mu_real|`, the mean over
/// the sample's own values. Yin et al. 2023, Eq. (7) with the weight of Eq. (8).
///
/// `mu_real` and `mu_fake` are both denoisers' estimates of the clean sample at `x_t = alpha_t x + sigma_t eps`. Since
/// `score = -(x_t - alpha_t mu) / sigma_t^2`, the numerator is `sigma_t^2 / alpha_t` times `score_fake - score_real`, and the
/// whole is that difference under `w_t = sigma_t^2 / alpha_t C S / |x - mu_real|_1`, for `C` channels of `S` positions. A
/// sample that the real denoiser leaves as it is has a denominator of 0, which `1e-8` keeps finite.
pub fn distribution_matching_gradient(x: Tensor<4>, mu_real: Tensor<4>, mu_fake: Tensor<4>) -> Tensor<4> {
    let away = (x - mu_real.clone()).abs().mean_dims(&[1, 2, 3]);
    (mu_fake - mu_real) / away.clamp_min(1e-8)
}

/// `1/2 E|x - sg(x - g)|^2` `[1]`, the mean over all values, whose gradient at `x` is `g` over their number.
///
/// It is a way to give a tape the gradient `g`, and a figure; it is not the divergence. Yin et al. 2024, public training code.
pub fn distribution_matching(x: Tensor<4>, gradient: Tensor<4>) -> Tensor<1> {
    let target = x.clone().inner() - gradient;
    (x - target).square().mean().mul_scalar(0.5)
}

#[cfg(test)]
mod tests {
    use add_plugin::{NoiseSchedule, Timesteps};
    use burn::tensor::{DType, Device, TensorData};
    use proptest::prelude::*;

    use super::*;
    use crate::{diffuse, x0};

    fn pictures<const N: usize>(values: [f64; N]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), [N / 2, 1, 1, 2]), (&Device::flex(), DType::F64))
    }

    fn numbers(x: Tensor<4>) -> Vec<f64> {
        x.into_data().try_to_vec().expect("f64")
    }

    #[test]
    fn by_hand() {
        // Each sample by its own mean: |1 - 0.5| and |-1 - 0| make 0.75; |2 - 1| and |0 - 3| make 2.
        let (x, real) = (pictures([1.0, -1.0, 2.0, 0.0]), pictures([0.5, 0.0, 1.0, 3.0]));
        let fake = pictures([2.0, -0.75, 1.0, 4.0]);
        let got = numbers(distribution_matching_gradient(x, real, fake));
        for (got, want) in got.into_iter().zip([2.0, -1.0, 0.0, 0.5]) {
            assert!((got - want).abs() < 1e-15, "{got} {want}");
        }
    }

    #[test]
    fn the_loss_gives_the_tape_the_gradient_over_the_number_of_values() {
        let x = pictures([1.0, -1.0, 2.0, 0.0]).autodiff().require_grad();
        let loss = distribution_matching(x.clone(), pictures([2.0, -1.0, 0.0, 0.5]));
        // (4 + 1 + 0 + 0.25) / 8
        assert!((loss.clone().inner().into_scalar::<f64>() - 0.656_25).abs() < 1e-15);
        let got = numbers(x.grad(&loss.backward()).expect("a gradient"));
        for (got, want) in got.into_iter().zip([0.5, -0.25, 0.0, 0.125]) {
            assert!((got - want).abs() < 1e-15, "{got} {want}");
        }
    }

    #[test]
    fn a_fake_that_the_real_denoiser_leaves_as_it_is_stays_finite() {
        let x = pictures([1.0, -1.0]);
        let got = numbers(distribution_matching_gradient(x.clone(), x.clone(), x));
        assert!(got.into_iter().all(|g| g.abs() < 1e-15));
    }

    fn two() -> impl Strategy<Value = [f64; 2]> {
        prop::array::uniform2(-2.0..2.0_f64)
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_weighted_difference_of_two_scores(
            x in two(), eps in two(), real in two(), fake in two(), t in 0..9_usize,
        ) {
            let alpha_bars: Vec<f64> = (0..9).map(|t| 0.95 - 0.1 * f64::from(t)).collect();
            let schedule = NoiseSchedule::from_alphas_cumprod(&alpha_bars);
            let (x, eps, at) = (pictures(x), pictures(eps), Timesteps::whole([t]));
            let at = schedule.coefficients(&at, &x);
            let x_t = diffuse(x.clone(), eps, &at);
            // Both denoisers predict noise; the score is minus the noise over sigma.
            let mu = |eps: [f64; 2]| x0(add_plugin::Prediction::Epsilon, pictures(eps), x_t.clone(), &at);
            let score = |eps: [f64; 2]| pictures(eps).neg() / at.sigma.clone();
            let (mu_real, mu_fake) = (mu(real), mu(fake));
            let away = numbers((x.clone() - mu_real.clone()).abs());
            prop_assume!(away[0] + away[1] > 1e-3);
            let weight = at.sigma.clone().square() / at.alpha.clone() * (2.0 / (away[0] + away[1]));
            let want = numbers((score(fake) - score(real)) * weight);
            let got = numbers(distribution_matching_gradient(x, mu_real, mu_fake));
            prop_assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-9 * (1.0 + w.abs())), "{got:?} {want:?}");
        }

        #[test]
        fn where_both_denoisers_agree_nothing_moves_and_a_swap_turns_it_around(x in two(), a in two(), b in two()) {
            let away = |m: [f64; 2]| (x[0] - m[0]).abs() + (x[1] - m[1]).abs();
            prop_assume!(away(a) > 1e-3 && away(b) > 1e-3);
            let gradient = |real, fake| numbers(distribution_matching_gradient(pictures(x), pictures(real), pictures(fake)));
            prop_assert!(gradient(a, a).iter().all(|g| g.abs() < 1e-12));
            // Apart from the normaliser, which is the real one's.
            let (there, back) = (gradient(a, b), gradient(b, a));
            for (there, back) in there.iter().zip(&back) {
                prop_assert!((there * away(a) + back * away(b)).abs() < 1e-9);
            }
        }
    }
}
