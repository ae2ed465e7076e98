//! Patches of 2 x 2 pixels as channels. Replace it by your autoencoder, and name its source.

use add_plugin::{Autoencoder, Codec, Entry, LatentInfo, Latents, Pixels, PluginError, inventory};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

/// What it does, and which models run on its latents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Skeleton {}

/// Pixels per latent in each direction.
const PATCH: usize = 2;
/// Colours of a pixel.
const RGB: usize = 3;

impl Codec for Skeleton {
    fn info(&self) -> LatentInfo {
        LatentInfo { channels: RGB * PATCH * PATCH, reduction: PATCH }
    }

    fn init(&self, _device: &Device) -> Result<Box<dyn Autoencoder>, PluginError> {
        Ok(Box::new(Network {}))
    }
}

inventory::submit!(Entry::codec::<Skeleton>("Skeleton", "the paper, or the release that it reads"));

/// The network on a device; this one has no parameters.
#[derive(Module, Debug)]
struct Network {}

impl Autoencoder for Network {
    fn encode(&self, pixels: Pixels) -> Latents {
        let [b, c, h, w] = pixels.0.dims();
        let [rows, columns] = [h, w].map(|side| side / PATCH);
        let patches: Tensor<6> = pixels.0.reshape([b, c, rows, PATCH, columns, PATCH]);
        Latents(patches.permute([0, 1, 3, 5, 2, 4]).reshape([b, c * PATCH * PATCH, rows, columns]))
    }

    fn decode(&self, latents: Latents) -> Pixels {
        let [b, _, rows, columns] = latents.0.dims();
        let patches: Tensor<6> = latents.0.reshape([b, RGB, PATCH, PATCH, rows, columns]);
        Pixels(patches.permute([0, 1, 4, 2, 5, 3]).reshape([b, RGB, rows * PATCH, columns * PATCH]))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    #[test]
    fn a_picture_comes_back_as_it_was() {
        let values: Vec<f32> = (0..2 * 3 * 4 * 6).map(|i| i as f32).collect();
        let device = Device::flex();
        let x = Tensor::<4>::from_data(TensorData::new(values, [2, 3, 4, 6]), &device);
        let network = Skeleton {}.init(&device).unwrap();
        let latents = network.encode(Pixels(x.clone()));
        assert_eq!(latents.0.dims(), [2, 12, 2, 3]);
        network.decode(latents).0.into_data().assert_eq(&x.into_data(), true);
    }
}
