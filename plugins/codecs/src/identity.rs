//! No codec: the diffusion runs on pixels.

use add_plugin::{Autoencoder, Codec, Entry, LatentInfo, Latents, Pixels, PluginError, inventory};
use burn::{module::Module, tensor::Device};
use serde::{Deserialize, Serialize};

/// Pixel space: latents are the pixels themselves, `[B, 3, H, W]` in `[-1, 1]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {}

inventory::submit!(Entry::codec::<Identity>("Identity", "pixel space"));

impl Codec for Identity {
    fn info(&self) -> LatentInfo {
        LatentInfo { channels: 3, reduction: 1 }
    }

    fn init(&self, _device: &Device) -> Result<Box<dyn Autoencoder>, PluginError> {
        Ok(Box::new(PixelSpace {}))
    }
}

/// A network without parameters.
#[derive(Module, Debug)]
struct PixelSpace {}

impl Autoencoder for PixelSpace {
    fn encode(&self, pixels: Pixels) -> Latents {
        Latents(pixels.0)
    }

    fn decode(&self, latents: Latents) -> Pixels {
        Pixels(latents.0)
    }
}

#[cfg(test)]
mod tests {
    use add_plugin::{Plugin, parameter_count};
    use burn::tensor::Tensor;
    use ron::extensions::Extensions;

    use super::*;

    #[test]
    fn pixels_come_back_as_they_are_and_gradients_pass() {
        let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
        let codec: Plugin<dyn Codec> = options.from_str("Identity()").expect("valid");
        assert_eq!(codec.info(), LatentInfo { channels: 3, reduction: 1 });
        let network = codec.init(&Device::flex()).expect("no weights");
        assert_eq!(parameter_count(&*network), 0);
        let x = Tensor::<4>::full([1, 3, 2, 2], 0.25, &Device::flex().autodiff()).require_grad();
        let y = network.decode(network.encode(Pixels(x.clone())));
        assert_eq!(y.0.dims(), [1, 3, 2, 2]);
        let gradients = (y.0 * 3.0).sum().backward();
        let gradient = x.grad(&gradients).expect("a leaf");
        assert_eq!(gradient.to_data().iter::<f32>().collect::<Vec<_>>(), [3.0; 12]);
    }
}
