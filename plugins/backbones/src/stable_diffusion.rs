//! The released Stable Diffusion denoisers: Rombach et al. 2022, Podell et al. 2023.

use std::path::Path;

use add_nn::{
    layers::{Checkpointing, Init},
    unet::UnetConfig,
};
use add_plugin::{
    Backbone, BackboneInfo, Component, Denoiser, Entry, LoraConfig, Naming, PluginError, Prediction,
    SizeConditioning, TextInfo, inventory,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::unet::{UnetDenoiser, adapted, check_guidance, check_text};

/// Stable Diffusion 1.5: 860 M parameters, predicts noise, 64x64 latents.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sd15 {
    /// What the weights predict.
    pub prediction: Prediction,
    /// Whether the blocks are computed again in the backward pass: less memory, more time.
    pub checkpointing: Checkpointing,
    /// Width of the embedding of the guidance scale, for a network that is told it and asked once; 256 in the released
    /// latent consistency models. `None` for one that is guided by being asked with and without the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_embedding: Option<usize>,
}

/// Stable Diffusion 2.1: 866 M parameters; the base model (512 px) predicts noise, the 768 px model `v`.
/// SD-Turbo is a student of this shape.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sd21 {
    /// What the weights predict.
    pub prediction: Prediction,
    /// Whether the blocks are computed again in the backward pass: less memory, more time.
    pub checkpointing: Checkpointing,
    /// Width of the embedding of the guidance scale, for a network that is told it and asked once; 256 in the released
    /// latent consistency models. `None` for one that is guided by being asked with and without the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_embedding: Option<usize>,
}

/// Stable Diffusion XL: 2.57 G parameters, predicts noise, 128x128 latents (64x64 for SDXL-Turbo).
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sdxl {
    /// What the weights predict.
    pub prediction: Prediction,
    /// Whether the blocks are computed again in the backward pass: less memory, more time.
    pub checkpointing: Checkpointing,
    /// Width of the embedding of the guidance scale, for a network that is told it and asked once; 256 in the released
    /// latent consistency models. `None` for one that is guided by being asked with and without the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_embedding: Option<usize>,
    /// Height and width of the original pictures that it is told, in pixels; `None` for those of the picture that is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_size: Option<[usize; 2]>,
    /// Pixels cut off at the top and at the left that it is told.
    #[serde(skip_serializing_if = "is_origin")]
    pub crop: [usize; 2],
}

impl Default for Sd15 {
    fn default() -> Self {
        Self { prediction: Prediction::Epsilon, checkpointing: Checkpointing::Off, guidance_embedding: None }
    }
}

impl Default for Sd21 {
    fn default() -> Self {
        Self { prediction: Prediction::Epsilon, checkpointing: Checkpointing::Off, guidance_embedding: None }
    }
}

/// Whether nothing is cut off.
fn is_origin(crop: &[usize; 2]) -> bool {
    *crop == [0, 0]
}

impl Default for Sdxl {
    fn default() -> Self {
        Self {
            prediction: Prediction::Epsilon,
            checkpointing: Checkpointing::Off,
            guidance_embedding: None,
            original_size: None,
            crop: [0, 0],
        }
    }
}

/// The three differ in numbers, and in what one is told more.
macro_rules! released {
    ($plugin:ident, $config:ident, $width:literal $(, $($more:tt)*)?) => {
        impl Backbone for $plugin {
            fn info(&self) -> BackboneInfo {
                BackboneInfo { channels: 4, prediction: self.prediction, multiple_of: 8 }
            }

            fn check_text(&self, text: TextInfo) -> Result<(), PluginError> {
                check_text(stringify!($plugin), $width, &UnetConfig::$config(), text)
            }

            fn is_checkpointed(&self) -> bool {
                self.checkpointing == Checkpointing::Blocks
            }

            $($($more)*)?

            fn takes_guidance(&self) -> bool {
                self.config().time_cond_proj_dim.is_some()
            }

            fn feature_blocks(&self) -> Vec<(String, usize)> {
                self.config().blocks()
            }

            fn component(&self) -> Option<Component> {
                Some(UnetDenoiser::component(&self.config()))
            }

            fn init(
                &self,
                text: TextInfo,
                seed: u64,
                device: &Device,
            ) -> Result<Box<dyn Denoiser>, PluginError> {
                Ok(Box::new(self.fresh(text, &Init::new(seed, device))?))
            }

            fn adapted(
                &self,
                text: TextInfo,
                lora: &LoraConfig,
                seed: u64,
                device: &Device,
            ) -> Result<Box<dyn Denoiser>, PluginError> {
                Ok(Box::new(self.fresh(text, &adapted(lora, seed, device)?)?))
            }

            fn load(
                &self,
                text: TextInfo,
                naming: Naming,
                file: &Path,
                device: &Device,
            ) -> Result<Box<dyn Denoiser>, PluginError> {
                // Nothing is drawn, so the seed does not matter.
                let fresh = self.fresh(text, &Init::new(0, device))?;
                Ok(Box::new(fresh.load(&self.config(), naming, file)?))
            }
        }

        impl $plugin {
            fn config(&self) -> UnetConfig {
                UnetConfig { time_cond_proj_dim: self.guidance_embedding, ..UnetConfig::$config() }
            }

            fn fresh(&self, text: TextInfo, init: &Init) -> Result<UnetDenoiser, PluginError> {
                self.check_text(text)?;
                check_guidance(self.guidance_embedding)?;
                Ok(UnetDenoiser::new(&self.config(), init)?.with_checkpointing(self.checkpointing))
            }
        }
    };
}

released!(Sd15, sd15, 768);
released!(Sd21, sd21, 1024);
released!(
    Sdxl,
    sdxl,
    2048,
    fn sizes(&self) -> Option<SizeConditioning> {
        Some(SizeConditioning { original: self.original_size, crop: self.crop })
    }
);

inventory::submit!(Entry::backbone::<Sd15>("Sd15", "Rombach et al. 2022; stable-diffusion-v1-5"));
inventory::submit!(Entry::backbone::<Sd21>("Sd21", "Rombach et al. 2022; stable-diffusion-2-1"));
inventory::submit!(Entry::backbone::<Sdxl>("Sdxl", "Podell et al. 2023; stable-diffusion-xl-base-1.0"));

#[cfg(test)]
mod tests {
    use add_plugin::parameter_count;

    use super::*;

    fn count(backbone: &dyn Backbone, width: usize) -> usize {
        let text = TextInfo { tokens: 77, width, pooled: 1280 };
        parameter_count(&*backbone.init(text, 0, &Device::flex()).unwrap())
    }

    #[test]
    fn parameter_counts_are_those_of_the_released_models() {
        assert_eq!(count(&Sd15::default(), 768), 859_520_964);
        assert_eq!(count(&Sd21::default(), 1024), 865_910_724);
        assert_eq!(count(&Sdxl::default(), 2048), 2_567_463_684);
    }

    #[test]
    fn a_text_encoder_of_another_width_is_refused() {
        let text = TextInfo { tokens: 77, width: 768, pooled: 768 };
        let error = Sd21::default().init(text, 0, &Device::flex()).unwrap_err();
        assert!(error.to_string().contains("1024") && error.to_string().contains("768"), "{error}");
        // Two of ViT-g's widths: its pooled embedding has 1024, that of SDXL's second text encoder 1280.
        let text = TextInfo { tokens: 77, width: 2048, pooled: 1024 };
        let error = Sdxl::default().check_text(text).unwrap_err();
        assert!(error.to_string().contains("1280") && error.to_string().contains("1024"), "{error}");
        Sdxl::default().check_text(TextInfo { pooled: 1280, ..text }).unwrap();
        // These do not read it.
        Sd21::default().check_text(TextInfo { width: 1024, ..text }).unwrap();
    }
}
