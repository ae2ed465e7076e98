//! Gradients by parameter name.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

/// Flat gradients on the plain device, by dotted parameter path.
pub type GradientMap = BTreeMap<String, Tensor<1>>;

/// `|g|_2` over all gradients together; not finite as soon as one value is not.
pub fn global_norm(gradients: &GradientMap) -> f64 {
    scalars(gradients.values().map(|g| g.clone().square().sum())).into_iter().sum::<f64>().sqrt()
}

/// The factor that brings a gradient of `norm` down to at most `max_norm`, as `torch.nn.utils.clip_grad_norm_` does.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

/// The values of tensors of one device and number type as `f64`, in one reading: each waits for the device.
pub fn scalars(tensors: impl IntoIterator<Item = Tensor<1>>) -> Vec<f64> {
    let tensors: Vec<Tensor<1>> = tensors.into_iter().collect();
    if tensors.is_empty() {
        return Vec::new();
    }
    Tensor::cat(tensors, 0).into_data().iter::<f64>().collect()
}

/// The one value of a tensor as `f64`, whatever its number type.
pub fn scalar(tensor: Tensor<1>) -> f64 {
    tensor.into_data().iter::<f64>().next().expect("a scalar tensor holds one value")
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn scalars_keep_their_order() {
        let one = |x: f64| Tensor::<1>::from_floats([x], &Device::flex());
        assert_eq!(scalars([3.0, -1.0, 2.0].map(one)), [3.0, -1.0, 2.0]);
        assert_eq!(scalars([]), [0.0; 0]);
    }

    #[test]
    fn the_norm_spans_all_tensors() {
        let device = Device::flex();
        let map = GradientMap::from([
            ("a".to_owned(), Tensor::from_floats([3.0, 0.0], &device)),
            ("b".to_owned(), Tensor::from_floats([4.0], &device)),
        ]);
        assert!((global_norm(&map) - 5.0).abs() < 1e-6);
    }

    #[test]
    fn one_nan_makes_the_norm_not_finite() {
        let map =
            GradientMap::from([("a".to_owned(), Tensor::from_floats([1.0, f32::NAN], &Device::flex()))]);
        assert!(!global_norm(&map).is_finite());
    }

    #[test]
    fn small_gradients_are_not_scaled_up() {
        assert!((clip_factor(0.5, 1.0) - 1.0).abs() < 1e-12);
        assert!((clip_factor(4.0, 1.0) - 0.25).abs() < 1e-6);
    }
}
