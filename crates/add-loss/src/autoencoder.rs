//! The losses of an autoencoder whose latents a diffusion model runs on; its adversarial term is [`crate::hinge_generator`].
//!
//! Pictures are `[B, 3, H, W]`, features `[B, C, N]` for each hook of a frozen network. Sources: Esser et al. 2021 (VQGAN,
//! arXiv 2012.09841); Rombach et al. 2022 (LDM, arXiv 2112.10752), appendix G; Zhang et al. 2018 (LPIPS, arXiv 1801.03924).
//! `AUTOENCODER.md` maps them to recipe fields and tests.

use burn::tensor::Tensor;

/// Added to the squared length of a feature, which has a gradient at zero then.
const LENGTH_EPS: f64 = 1e-10;

/// The distance of a reconstruction and its picture, `[1]`: the mean of `|x_hat - x|` over all values. Rombach et al. 2022,
/// `L_rec` of Eq. (25).
pub fn absolute_distance(x_hat: Tensor<4>, x: Tensor<4>) -> Tensor<1> {
    (x_hat - x).abs().mean()
}

/// The perceptual distance `[1]` of two batches of pictures by the features of a frozen network:
/// `sum_k 1 / N_k sum_n |f_kn / |f_kn| - g_kn / |g_kn||^2`, the mean over the batch. Zhang et al. 2018, Eq. (1), with all
/// weights one.
///
/// # Panics
/// Panics without features, or when the two have other shapes.
pub fn perceptual_distance(f: &[Tensor<3>], g: &[Tensor<3>]) -> Tensor<1> {
    assert_eq!(f.len(), g.len(), "features of one network");
    let distance = |(f, g): (&Tensor<3>, &Tensor<3>)| {
        let difference = unit_length(f.clone()) - unit_length(g.clone());
        difference.square().sum_dim(1).mean()
    };
    let distances = f.iter().zip(g).map(distance);
    distances.reduce(|sum, next| sum + next).expect("a feature network has at least one hook")
}

/// Features of length one at each place.
fn unit_length(f: Tensor<3>) -> Tensor<3> {
    let length = f.clone().square().sum_dim(1).add_scalar(LENGTH_EPS).sqrt();
    f / length
}

/// The divergence from a normal distribution to the standard one, `KL(N(mean, exp(logvar)) || N(0, 1))`, `[1]`: the mean over
/// all latent values. Rombach et al. 2022, `L_reg` of Eq. (25); Kingma and Welling 2014, appendix B.
pub fn divergence_from_normal(mean: Tensor<4>, logvar: Tensor<4>) -> Tensor<1> {
    let terms = mean.square() + logvar.clone().exp() - logvar;
    terms.mean().sub_scalar(1.0).mul_scalar(0.5)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, TensorData};
    use proptest::prelude::*;

    use super::*;

    fn of<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), (&Device::flex(), DType::F64))
    }

    fn value(x: Tensor<1>) -> f64 {
        x.into_scalar()
    }

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "{got}, expected {want}");
    }

    #[test]
    fn the_absolute_distance_by_hand() {
        let [x_hat, x] = [[1.0, -0.5, 0.25, 0.0], [0.5, 0.5, 0.25, -0.25]].map(|v| of(&v, [1, 1, 2, 2]));
        // (0.5 + 1 + 0 + 0.25) / 4
        close(value(absolute_distance(x_hat, x)), 0.4375);
    }

    #[test]
    fn the_perceptual_distance_by_hand() {
        // Two channels at two places. At the first (3, 4) and (4, 3): (0.6, 0.8) and (0.8, 0.6), 0.08 apart. At the second (1, 0)
        // and (0, 2): 2 apart. The mean is 1.04; the second hook's one place, (0, 1) and (0, -1), is 4 apart.
        let f = [of(&[3.0, 1.0, 4.0, 0.0], [1, 2, 2]), of(&[0.0, 1.0], [1, 2, 1])];
        let g = [of(&[4.0, 0.0, 3.0, 2.0], [1, 2, 2]), of(&[0.0, -1.0], [1, 2, 1])];
        close(value(perceptual_distance(&f[..1], &g[..1])), 1.04);
        close(value(perceptual_distance(&f, &g)), 5.04);
    }

    #[test]
    fn the_divergence_by_hand() {
        // 0.5 (mean^2 + var - 1 - ln var): 0.5 (1 + 1 - 1 - 0) = 0.5, and 0.5 (0 + 4 - 1 - ln 4) = 0.806 852 819 440 054 7.
        let (mean, logvar) = ([1.0, 0.0], [0.0, 4.0_f64.ln()]);
        let got = divergence_from_normal(of(&mean, [1, 2, 1, 1]), of(&logvar, [1, 2, 1, 1]));
        close(value(got), f64::midpoint(0.5, 0.806_852_819_440_054_7));
    }

    #[test]
    fn features_of_zero_have_a_gradient() {
        let f = of(&[0.0, 0.0], [1, 2, 1]).autodiff().require_grad();
        let other = [of(&[1.0, 0.0], [1, 2, 1])];
        let gradients = perceptual_distance(std::slice::from_ref(&f), &other).backward();
        let gradient = f.grad(&gradients).expect("a leaf").into_data();
        assert!(gradient.iter::<f64>().all(f64::is_finite), "{gradient:?}");
    }

    proptest! {
        #[test]
        fn the_perceptual_distance_sees_directions_alone(
            f in prop::collection::vec(0.1..2.0_f64, 6), g in prop::collection::vec(0.1..2.0_f64, 6), scale in 0.1..10.0_f64,
        ) {
            let [f, g] = [f, g].map(|v| [of(&v, [1, 3, 2])]);
            let distance = value(perceptual_distance(&f, &g));
            let scaled = value(perceptual_distance(&[f[0].clone() * scale], &g));
            let back = value(perceptual_distance(&g, &f));
            prop_assert!((distance - scaled).abs() < 1e-6 && (distance - back).abs() < 1e-12);
            prop_assert!((0.0..=4.0).contains(&distance));
            prop_assert!(value(perceptual_distance(&f, &f)) < 1e-12);
        }

        #[test]
        fn the_divergence_is_least_at_the_standard_normal(mean in -3.0..3.0_f64, logvar in -8.0..8.0_f64) {
            let at = |mean: f64, logvar: f64| value(divergence_from_normal(of(&[mean], [1; 4]), of(&[logvar], [1; 4])));
            prop_assert!(at(0.0, 0.0).abs() < 1e-12 && at(mean, logvar) >= 0.0);
            prop_assert!(at(2.0 * mean, logvar) >= at(mean, logvar) && at(mean, 2.0 * logvar) >= at(mean, logvar));
        }

        #[test]
        fn the_absolute_distance_takes_no_way_round(values in prop::collection::vec(-1.0..1.0_f64, 6)) {
            let [a, b, c] = [0, 2, 4].map(|i| of(&values[i..i + 2], [1, 1, 1, 2]));
            let distance = |x: &Tensor<4>, y: &Tensor<4>| value(absolute_distance(x.clone(), y.clone()));
            prop_assert!(distance(&a, &c) <= distance(&a, &b) + distance(&b, &c) + 1e-12);
        }
    }
}
