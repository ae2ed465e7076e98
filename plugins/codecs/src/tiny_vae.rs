//! The tiny autoencoder: the same latents as the large one at a fiftieth of the cost, blurrier. Bohan 2023.
//!
//! Its latents are scaled already. TAESD is for SD 1 and 2, TAESDXL for SDXL.

use add_nn::{
    autoencoder_tiny::{AutoencoderTiny, AutoencoderTinyConfig},
    layers::Init,
};
use add_plugin::{Autoencoder, Codec, Entry, LatentInfo, Latents, Pixels, PluginError, inventory};
use add_weights::{Location, load_into};
use burn::{module::Module, tensor::Device};
use serde::{Deserialize, Serialize};

use crate::kl_vae::{FILE, LATENTS};

/// TAESD or TAESDXL: 2.4 M parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TinyVae {
    /// A file, or a folder with `diffusion_pytorch_model.safetensors`: `hf://madebyollin/taesd` or
    /// `hf://madebyollin/taesdxl`.
    pub weights: Location,
}

inventory::submit!(Entry::codec::<TinyVae>("TinyVae", "Bohan 2023; TAESD, TAESDXL"));

impl TinyVae {
    fn fresh(device: &Device) -> Result<AutoencoderTiny, PluginError> {
        let init = Init::new(0, &device.clone().without_autodiff());
        AutoencoderTiny::new(&AutoencoderTinyConfig::default(), &init)
            .map_err(|problem| PluginError::Mismatch(format!("the autoencoder: {problem}")))
    }

    fn file(&self) -> Location {
        self.weights.named(FILE)
    }
}

impl Codec for TinyVae {
    fn info(&self) -> LatentInfo {
        LATENTS
    }

    fn weights(&self) -> Vec<String> {
        vec![self.file().to_string()]
    }

    fn init(&self, device: &Device) -> Result<Box<dyn Autoencoder>, PluginError> {
        let fresh = Self::fresh(device)?;
        let network = self.file().open().and_then(|file| load_into(fresh, &file));
        let network = network.map_err(|error| PluginError::Weights(error.to_string()))?;
        Ok(Box::new(TinyVaeNetwork { network }))
    }

    fn outline(&self, device: &Device) -> Result<Box<dyn Autoencoder>, PluginError> {
        Ok(Box::new(TinyVaeNetwork { network: Self::fresh(device)? }))
    }
}

#[derive(Module, Debug)]
struct TinyVaeNetwork {
    network: AutoencoderTiny,
}

impl Autoencoder for TinyVaeNetwork {
    fn encode(&self, pixels: Pixels) -> Latents {
        Latents(self.network.encode(pixels.0))
    }

    fn decode(&self, latents: Latents) -> Pixels {
        Pixels(self.network.decode(latents.0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use add_plugin::{Plugin, parameter_count};
    use add_weights::{Precision, named_tensors, save};
    use burn::tensor::Tensor;
    use ron::extensions::Extensions;

    use super::*;

    fn recipe(text: &str) -> Plugin<dyn Codec> {
        let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
        options.from_str(text).expect(text)
    }

    #[test]
    fn the_parameter_count_is_that_of_the_released_autoencoder() {
        let network = recipe("TinyVae(weights: \"x\")").outline(&Device::flex()).expect("no file is read");
        assert_eq!(parameter_count(&*network), 2_445_063);
    }

    #[test]
    fn a_folder_is_loaded_and_gradients_pass_through_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = AutoencoderTinyConfig::default();
        let network = AutoencoderTiny::new(&config, &Init::new(7, &Device::flex())).expect("valid");
        let path = folder.path().join("diffusion_pytorch_model.fp16.safetensors");
        save(&path, &named_tensors(&network), Precision::F16, &BTreeMap::new()).expect("written");
        let codec = recipe(&format!("TinyVae(weights: {:?})", folder.path()));
        let codec = codec.init(&Device::flex().autodiff()).expect("the half-precision variant");
        let latents = Tensor::<4>::full([1, 4, 2, 2], 0.3, &Device::flex().autodiff()).require_grad();
        let pixels = codec.decode(Latents(latents.clone()));
        assert_eq!(pixels.0.dims(), [1, 3, 16, 16]);
        let mut gradients = pixels.0.clone().square().sum().backward();
        assert!(codec.take_gradients(&mut gradients).is_empty(), "the weights are constants");
        assert!(latents.grad(&gradients).expect("a leaf").abs().sum().into_scalar::<f32>() > 0.0);
        // The values are those of the file: f16 of the network's own.
        let own = network.decode(Tensor::full([1, 4, 2, 2], 0.3, &Device::flex()));
        let difference = (own - pixels.0.inner()).abs().max().into_scalar::<f32>();
        assert!(difference < 5e-3, "{difference}");
    }
}
