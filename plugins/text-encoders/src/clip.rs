//! The text towers of the CLIP models whose pictures and texts share a space. Radford et al. 2021; Cherti et al. 2023.

use add_nn::clip_text::ClipTextConfig;
use add_plugin::{Entry, PluginError, TextEncoder, TextInfo, TextNetwork, inventory};
use add_weights::{Location, names::found::TextTower};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    projected::Projected,
    released::{OPEN_CLIP_FILE, Padding, Tower, file, info},
};

/// The text tower of a whole CLIP with its projection, as a CLIP score needs it; that of ViT-g/14 is `OpenClipG`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    /// A file, or a folder with `model.safetensors` (OpenAI's, such as `hf://openai/clip-vit-base-patch32`) or
    /// `open_clip_model.safetensors` (H14, such as `hf://laion/CLIP-ViT-H-14-laion2B-s32B-b79K`).
    pub weights: Location,
    /// Its shape.
    #[serde(default)]
    pub model: ClipModel,
}

/// The released shapes, by the image tower that belongs to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClipModel {
    /// OpenAI's ViT-B/32.
    B32,
    /// OpenAI's ViT-B/16.
    B16,
    /// OpenAI's ViT-L/14, at 224 or 336 pixels.
    #[default]
    L14,
    /// OpenCLIP's ViT-H/14.
    H14,
}

inventory::submit!(Entry::text_encoder::<Clip>("Clip", "Radford et al. 2021; OpenCLIP, ViT-H/14"));

impl Clip {
    fn config(&self) -> ClipTextConfig {
        let config = match self.model {
            ClipModel::B32 | ClipModel::B16 => ClipTextConfig {
                hidden_size: 512,
                intermediate_size: 2048,
                projection_dim: 512,
                num_attention_heads: 8,
                ..ClipTextConfig::default()
            },
            ClipModel::L14 => ClipTextConfig::default(),
            ClipModel::H14 => ClipTextConfig::open_clip(1024, 24, 16),
        };
        config.projected()
    }

    fn tower(&self, device: &Device) -> Result<Tower, PluginError> {
        let padding = match self.model {
            ClipModel::H14 => Padding::ZeroOfOpenClip,
            ClipModel::B32 | ClipModel::B16 | ClipModel::L14 => Padding::End,
        };
        Tower::outline(&self.config(), padding, device)
    }

    fn file(&self) -> Location {
        match self.model {
            ClipModel::H14 => self.weights.named(OPEN_CLIP_FILE),
            ClipModel::B32 | ClipModel::B16 | ClipModel::L14 => file(&self.weights),
        }
    }
}

impl TextEncoder for Clip {
    fn info(&self) -> TextInfo {
        let config = self.config();
        info(config.hidden_size, config.projection_dim)
    }

    fn is_projected(&self) -> bool {
        true
    }

    fn weights(&self) -> Vec<String> {
        vec![self.file().to_string()]
    }

    fn init(&self, _seed: u64, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        Ok(Projected::boxed(self.tower(device)?.load(&self.file(), TextTower::ClipL)?))
    }

    fn outline(&self, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        Ok(Projected::boxed(self.tower(device)?))
    }
}
