//! The mean colour of each of a grid of places. Replace it by your network, and name its source.

use add_plugin::{Entry, FeatureExtractor, FeatureNetwork, Pixels, PluginError, inventory, within};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

/// What it was trained for, and what its features tell apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Skeleton {
    /// Places in each direction; it divides the side of the input, 64.
    pub(crate) places: usize,
}

impl Default for Skeleton {
    fn default() -> Self {
        Self { places: 8 }
    }
}

/// Side of the pictures that it is given, in pixels.
const INPUT: usize = 64;
/// Colours of a pixel.
const RGB: usize = 3;

impl FeatureNetwork for Skeleton {
    fn init(&self, _device: &Device) -> Result<Box<dyn FeatureExtractor>, PluginError> {
        within("places", self.places, 1..=INPUT)?;
        if !INPUT.is_multiple_of(self.places) {
            let problem = format!("expected a divisor of {INPUT}, got {}", self.places);
            return Err(PluginError::Field { field: "places", problem });
        }
        Ok(Box::new(Network { places: self.places }))
    }
}

inventory::submit!(Entry::feature_network::<Skeleton>("Skeleton", "the paper, or the release that it reads"));

/// The network on a device; this one has no parameters.
#[derive(Module, Debug)]
struct Network {
    #[module(skip)]
    places: usize,
}

impl FeatureExtractor for Network {
    fn hooks(&self) -> Vec<(String, usize)> {
        vec![("skeleton-mean".to_owned(), RGB)]
    }

    fn input_size(&self) -> usize {
        INPUT
    }

    fn embedding_width(&self) -> usize {
        RGB
    }

    fn features(&self, pixels: Pixels) -> Vec<Tensor<3>> {
        let [b, c, h, w] = pixels.0.dims();
        let n = self.places;
        let cells: Tensor<6> = pixels.0.reshape([b, c, n, h / n, n, w / n]);
        vec![cells.mean_dim(3).mean_dim(5).reshape([b, c, n * n])]
    }

    fn embedding(&self, pixels: Pixels) -> Tensor<2> {
        let [b, c, _, _] = pixels.0.dims();
        pixels.0.flatten::<3>(2, 3).mean_dim(2).reshape([b, c])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_have_the_stated_shapes_and_are_means() {
        let device = Device::flex();
        let network = Skeleton { places: 4 }.init(&device).unwrap();
        let pixels = Pixels(Tensor::full([2, RGB, INPUT, INPUT], 0.5, &device));
        let features = network.features(pixels.clone()).swap_remove(0);
        assert_eq!(features.dims(), [2, network.hooks()[0].1, 16]);
        assert!((features - 0.5).abs().max().into_scalar::<f32>() < 1e-6);
        assert_eq!(network.embedding(pixels).dims(), [2, network.embedding_width()]);
    }

    #[test]
    fn a_grid_that_does_not_divide_the_picture_is_refused() {
        let refusal = Skeleton { places: 5 }.init(&Device::flex()).unwrap_err().to_string();
        assert!(refusal.contains("divisor of 64"), "{refusal}");
    }
}
