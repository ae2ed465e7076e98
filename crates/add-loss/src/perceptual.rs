//! A distance between features of pictures. Zhang et al. 2018 (LPIPS), Eq. (1), with a weight of 1 for every channel.

use burn::tensor::Tensor;

/// What is added under the root, so that a position without any feature has a direction and a gradient.
const TINY: f64 = 1e-10;

/// `sum_l E_n |x_l / |x_l| - y_l / |y_l||^2` `[1]`: at each position `n` of each layer `l` both features are scaled to length 1
/// over their channels; the mean is over batch and positions.
///
/// Layers are `[B, C, N]`, as many in `y` as in `x`. The gradient flows through `x`; a `y` on the plain device is a constant. The
/// published distance weighs the channels by weights that were fitted to people's judgements of a few networks; this one is
/// the same for any network.
///
/// # Panics
/// Panics without a layer.
pub fn perceptual(x: Vec<Tensor<3>>, y: Vec<Tensor<3>>) -> Tensor<1> {
    assert_eq!(x.len(), y.len(), "both are looked at by the same layers");
    let layer = |(x, y): (Tensor<3>, Tensor<3>)| (direction(x) - direction(y)).square().sum_dim(1).mean();
    x.into_iter().zip(y).map(layer).reduce(|sum, one| sum + one).expect("at least one layer")
}

/// Each position's feature scaled to length 1.
fn direction(x: Tensor<3>) -> Tensor<3> {
    let length = x.clone().square().sum_dim(1).add_scalar(TINY).sqrt();
    x / length
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, TensorData};
    use proptest::prelude::*;

    use super::*;

    /// One sample of two channels.
    fn layer(positions: &[[f64; 2]]) -> Tensor<3> {
        let values: Vec<f64> = [0, 1].into_iter().flat_map(|c| positions.iter().map(move |p| p[c])).collect();
        Tensor::from_data(TensorData::new(values, [1, 2, positions.len()]), (&Device::flex(), DType::F64))
    }

    fn distance(x: &[[f64; 2]], y: &[[f64; 2]]) -> f64 {
        perceptual(vec![layer(x)], vec![layer(y)]).into_scalar()
    }

    #[test]
    fn by_hand() {
        // (3, 4) and (4, 3) point to (0.6, 0.8) and (0.8, 0.6): 0.08. Opposite directions: 4. The mean of both is 2.04.
        let (x, y) = ([[3.0, 4.0], [0.0, 2.0]], [[4.0, 3.0], [0.0, -7.0]]);
        assert!((distance(&x, &y) - 2.04).abs() < 1e-9);
        // A second layer adds its own: (1, 0) and (0, 1) are 2 apart.
        let both = perceptual(vec![layer(&x), layer(&[[1.0, 0.0]])], vec![layer(&y), layer(&[[0.0, 1.0]])]);
        assert!((both.into_scalar::<f64>() - 4.04).abs() < 1e-9);
    }

    #[test]
    fn a_position_without_any_feature_has_a_finite_gradient() {
        let x = layer(&[[0.0, 0.0], [1.0, 0.0]]).autodiff().require_grad();
        let loss = perceptual(vec![x.clone()], vec![layer(&[[1.0, 0.0], [0.0, 0.0]])]);
        let gradient: Vec<f64> = x.grad(&loss.backward()).unwrap().into_data().try_to_vec().unwrap();
        assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
    }

    proptest! {
        #[test]
        fn it_is_blind_to_lengths_symmetric_and_between_0_and_4(
            x in prop::array::uniform2(0.1..3.0_f64), y in prop::array::uniform2(-3.0..-0.1_f64), scale in 0.5..9.0_f64,
        ) {
            let there = distance(&[x], &[y]);
            prop_assert!((distance(&[x.map(|x| x * scale)], &[y]) - there).abs() < 1e-7);
            prop_assert!((distance(&[y], &[x]) - there).abs() < 1e-12);
            prop_assert!(there > 0.0 && there <= 4.0 && distance(&[x], &[x]).abs() < 1e-15);
        }
    }
}
