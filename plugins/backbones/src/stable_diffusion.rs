//! The released Stable Diffusion denoisers: Rombach et al. 2022, Podell et al. 2023.

use std::path::Path;

use add_nn::{
    layers::{Checkpointing, Init},
    unet::UnetConfig,
};
use add_plugin::{
    Backbone, BackboneInfo, Component, Denoiser, Entry, LoraConfig, Naming, PluginError, Prediction,
    TextInfo, inventory,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::unet::{UnetDenoiser, adapted, check_width};

/// Stable Diffusion 1.5: 860 M parameters, predicts noise, 64x64 latents.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sd15 {
    /// What the weights predict.
    pub(crate) prediction: Prediction,
    /// Whether the blocks are computed again in the backward pass: less memory, more time.
    pub(crate) checkpointing: Checkpointing,
}

/// Stable Diffusion 2.1: 866 M parameters; the base model (512 px) predicts noise, the 768 px model `v`.
/// SD-Turbo is a student of this shape.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sd21 {
    /// What the weights predict.
    pub(crate) prediction: Prediction,
    /// Whether the blocks are computed again in the backward pass: less memory, more time.
    pub(crate) checkpointing: Checkpointing,
}

/// Stable Diffusion XL: 2.57 G parameters, predicts noise, 128x128 latents (64x64 for SDXL-Turbo).
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sdxl {
    /// What the weights predict.
    pub(crate) prediction: Prediction,
    /// Whether the blocks are computed again in the backward pass: less memory, more time.
    pub(crate) checkpointing: Checkpointing,
}

impl Default for Sd15 {
    fn default() -> Self {
        Self { prediction: Prediction::Epsilon, checkpointing: Checkpointing::Off }
    }
}

impl Default for Sd21 {
    fn default() -> Self {
        Self { prediction: Prediction::Epsilon, checkpointing: Checkpointing::Off }
    }
}

impl Default for Sdxl {
    fn default() -> Self {
        Self { prediction: Prediction::Epsilon, checkpointing: Checkpointing::Off }
    }
}

/// The three differ in numbers alone.
macro_rules! released {
    ($plugin:ident, $config:ident, $width:literal) => {
        impl Backbone for $plugin {
            fn info(&self) -> BackboneInfo {
                BackboneInfo { channels: 4, prediction: self.prediction, multiple_of: 8 }
            }

            fn is_checkpointed(&self) -> bool {
                self.checkpointing == Checkpointing::Blocks
            }

            fn component(&self) -> Option<Component> {
                Some(UnetDenoiser::component(&UnetConfig::$config()))
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
                Ok(Box::new(fresh.load(&UnetConfig::$config(), naming, file)?))
            }
        }

        impl $plugin {
            fn fresh(&self, text: TextInfo, init: &Init) -> Result<UnetDenoiser, PluginError> {
                check_width(stringify!($plugin), $width, text)?;
                Ok(UnetDenoiser::new(&UnetConfig::$config(), init)?.with_checkpointing(self.checkpointing))
            }
        }
    };
}

released!(Sd15, sd15, 768);
released!(Sd21, sd21, 1024);
released!(Sdxl, sdxl, 2048);

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
    }
}
