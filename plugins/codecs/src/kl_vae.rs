//! The autoencoder of Stable Diffusion: latents of an eighth of the picture's side. Rombach et al. 2022.
//!
//! `latents = scaling_factor * mode(posterior)`. SD's factor is 0.18215, SDXL's 0.13025: a wrong one trains and samples
//! without a word and looks wrong.

use add_nn::{
    autoencoder_kl::{AutoencoderKl, AutoencoderKlConfig},
    layers::{Checkpointing, Init},
};
use add_plugin::{
    Autoencoder, Codec, Component, Content, Entry, LatentInfo, Latents, Pixels, Plugin, PluginError, Release,
    fields, inventory,
};
use add_weights::{Location, names::found};
use burn::{module::Module, tensor::Device};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The autoencoder of Stable Diffusion, SDXL and the turbo models: 84 M parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KlVae {
    /// A file, or a folder with `diffusion_pytorch_model.safetensors`, such as `hf://stabilityai/sd-turbo/vae`. A single
    /// file of Stable Diffusion will do.
    pub weights: Location,
    /// Latents times this have unit deviation: 0.18215 for SD 1 and 2, 0.13025 for SDXL.
    pub scaling_factor: f64,
    /// Whether the blocks are computed again in the backward pass: less memory, more time.
    #[serde(default)]
    pub checkpointing: Checkpointing,
}

inventory::submit!(Entry::codec::<KlVae>("KlVae", "Rombach et al. 2022; Stable Diffusion, SDXL"));

/// The file of diffusers' folders.
pub(crate) const FILE: &str = "diffusion_pytorch_model.safetensors";
/// What all released ones share.
pub(crate) const LATENTS: LatentInfo = LatentInfo { channels: 4, reduction: 8 };

impl KlVae {
    fn fresh(&self, device: &Device) -> Result<KlVaeNetwork, PluginError> {
        if !(self.scaling_factor > 0.0 && self.scaling_factor.is_finite()) {
            let problem = format!("expected a number above 0, got {}", self.scaling_factor);
            return Err(PluginError::Field { field: "scaling_factor", problem });
        }
        // On the plain device the weights are constants: gradients pass through, never to them.
        let init = Init::new(0, &device.clone().without_autodiff());
        let network = AutoencoderKl::new(&AutoencoderKlConfig::default(), &init)
            .map_err(|problem| PluginError::Mismatch(format!("the autoencoder: {problem}")))?;
        let network = network.with_checkpointing(self.checkpointing);
        Ok(KlVaeNetwork { network, scaling_factor: self.scaling_factor })
    }

    fn file(&self) -> Location {
        self.weights.named(FILE)
    }
}

impl Codec for KlVae {
    fn info(&self) -> LatentInfo {
        LATENTS
    }

    fn weights(&self) -> Vec<String> {
        vec![self.file().to_string()]
    }

    fn is_checkpointed(&self) -> bool {
        self.checkpointing == Checkpointing::Blocks
    }

    fn component(&self) -> Option<Component> {
        let config =
            AutoencoderKlConfig { scaling_factor: self.scaling_factor, ..AutoencoderKlConfig::default() };
        let mut config = fields(json!(config));
        config.extend(fields(json!({
            "act_fn": "silu",
            "down_block_types": vec!["DownEncoderBlock2D"; 4],
            "up_block_types": vec!["UpDecoderBlock2D"; 4],
        })));
        let content = Content::Network { config, prefix: "network." };
        Some(Component { folder: "vae", library: "diffusers", class: "AutoencoderKL", content })
    }

    fn init(&self, device: &Device) -> Result<Box<dyn Autoencoder>, PluginError> {
        let fresh = self.fresh(device)?;
        let levels = AutoencoderKlConfig::default().block_out_channels.len();
        let read = || {
            let file = self.file().open()?;
            found::autoencoder_kl(&file, levels)?.load(fresh.network, &file)
        };
        let network = read().map_err(|error| PluginError::Weights(error.to_string()))?;
        Ok(Box::new(KlVaeNetwork { network, ..fresh }))
    }

    fn in_release(&self, release: &Release<'_>) -> Option<Plugin<dyn Codec>> {
        Some(Self { weights: Location::parse(&release.part("vae")).ok()?, ..self.clone() }.into())
    }

    fn outline(&self, device: &Device) -> Result<Box<dyn Autoencoder>, PluginError> {
        Ok(Box::new(self.fresh(device)?))
    }
}

#[derive(Module, Debug)]
struct KlVaeNetwork {
    network: AutoencoderKl,
    #[module(skip)]
    scaling_factor: f64,
}

impl Autoencoder for KlVaeNetwork {
    fn encode(&self, pixels: Pixels) -> Latents {
        Latents(self.network.encode(pixels.0).mean * self.scaling_factor)
    }

    fn decode(&self, latents: Latents) -> Pixels {
        Pixels(self.network.decode(latents.0 / self.scaling_factor))
    }
}

#[cfg(test)]
mod tests {
    use add_plugin::parameter_count;
    use burn::tensor::Tensor;
    use ron::extensions::Extensions;

    use super::*;

    fn recipe(text: &str) -> Plugin<dyn Codec> {
        let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
        options.from_str(text).expect(text)
    }

    #[test]
    fn the_parameter_count_is_that_of_the_released_autoencoder() {
        let codec = recipe("KlVae(weights: \"hf://a/b/vae\", scaling_factor: 0.18215)");
        let network = codec.outline(&Device::flex()).expect("no file is read");
        assert_eq!(parameter_count(&*network), 83_653_863);
        assert_eq!(codec.weights(), ["hf://a/b/vae/diffusion_pytorch_model.safetensors"]);
        assert_eq!(codec.info(), LatentInfo { channels: 4, reduction: 8 });
    }

    #[test]
    fn a_missing_file_and_a_factor_that_is_none_are_refused() {
        let at = |factor: &str| recipe(&format!("KlVae(weights: \"no/such\", scaling_factor: {factor})"));
        let error = at("1.0").init(&Device::flex()).expect_err("missing").to_string();
        assert!(error.contains("no/such/diffusion_pytorch_model.safetensors"), "{error}");
        let error = at("0").outline(&Device::flex()).expect_err("zero").to_string();
        assert!(error.contains("scaling_factor"), "{error}");
    }

    #[test]
    fn the_factor_scales_what_is_encoded_and_is_undone_before_decoding() {
        let config = AutoencoderKlConfig {
            block_out_channels: vec![4, 8],
            layers_per_block: 1,
            norm_num_groups: 2,
            ..AutoencoderKlConfig::default()
        };
        let network = AutoencoderKl::new(&config, &Init::new(3, &Device::flex())).expect("valid");
        let plain = KlVaeNetwork { network: network.clone(), scaling_factor: 1.0 };
        let scaled = KlVaeNetwork { network, scaling_factor: 0.25 };
        let pixels = || Pixels(Tensor::full([1, 3, 8, 8], 0.3, &Device::flex()));
        let (a, b) = (plain.encode(pixels()).0, scaled.encode(pixels()).0);
        assert!((a.clone() * 0.25 - b.clone()).abs().max().into_scalar::<f32>() < 1e-7);
        let difference = plain.decode(Latents(a)).0 - scaled.decode(Latents(b)).0;
        assert!(difference.abs().max().into_scalar::<f32>() < 1e-6);
    }
}
