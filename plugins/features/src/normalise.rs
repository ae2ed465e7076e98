//! Pixel values as a network was trained on them.

use add_nn::mobilenet_v2::{IMAGENET_MEAN, IMAGENET_STD};
use add_plugin::Pixels;
use burn::tensor::{Tensor, TensorData};

/// Mean and deviation per channel, of pixels in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Statistics {
    mean: [f32; 3],
    std: [f32; 3],
}

/// Statistics of ImageNet, as in torchvision, timm and DINO.
pub(crate) const IMAGENET: Statistics = Statistics { mean: IMAGENET_MEAN, std: IMAGENET_STD };

/// Statistics of CLIP's pictures. Radford et al. 2021.
pub(crate) const CLIP: Statistics = Statistics {
    mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
    std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
};

/// Pixels as they are everywhere here, in [-1, 1].
pub(crate) const PLAIN: Statistics = Statistics { mean: [0.5; 3], std: [0.5; 3] };

/// `[-1, 1]` to `((x + 1) / 2 - mean) / std`, in one multiplication and one addition.
pub(crate) fn normalised(pixels: Pixels, statistics: Statistics) -> Tensor<4> {
    let x = pixels.0;
    let per_channel = |value: fn(f32, f32) -> f32| {
        let values: Vec<f32> =
            statistics.mean.iter().zip(statistics.std).map(|(&m, s)| value(m, s)).collect();
        let data = TensorData::new(values, [1, 3, 1, 1]);
        Tensor::from_data(data, (&x.device().without_autodiff(), x.dtype()))
    };
    let (scale, shift): (Tensor<4>, Tensor<4>) =
        (per_channel(|_, s| 0.5 / s), per_channel(|m, s| (0.5 - m) / s));
    x * scale + shift
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_mean_becomes_zero_and_white_is_in_deviations() {
        let of = |value: f32| {
            let x = Pixels(Tensor::full([1, 3, 1, 1], value, &Device::flex()));
            normalised(x, CLIP).to_data().iter::<f32>().collect::<Vec<_>>()
        };
        assert!(of(2.0 * 0.481_454_66 - 1.0)[0].abs() < 1e-6);
        // (1 - 0.40821073) / 0.27577711
        assert!((of(1.0)[2] - 2.145_897).abs() < 1e-5, "{:?}", of(1.0));
    }
}
