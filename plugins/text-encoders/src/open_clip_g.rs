//! The text tower of OpenCLIP ViT-g/14, the paper's `c_text`. Cherti et al. 2023; ADD, section 4.

use add_nn::clip_text::ClipTextConfig;
use add_plugin::{Entry, PluginError, TextEncoder, TextInfo, TextNetwork, inventory};
use add_weights::{Location, names::found::TextTower};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    projected::Projected,
    released::{OPEN_CLIP_FILE, Padding, Tower, info},
};

/// OpenCLIP ViT-g/14: 354 M parameters; the last state after the final norm, pooled in CLIP's common space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenClipG {
    /// A file, or a folder with `open_clip_model.safetensors`, such as `hf://laion/CLIP-ViT-g-14-laion2B-s12B-b42K`.
    pub weights: Location,
}

inventory::submit!(Entry::text_encoder::<OpenClipG>("OpenClipG", "OpenCLIP, ViT-g/14; ADD, section 4"));

const WIDTH: usize = 1024;

impl OpenClipG {
    fn tower(device: &Device) -> Result<Tower, PluginError> {
        Tower::outline(&ClipTextConfig::open_clip(WIDTH, 24, 16).projected(), Padding::ZeroOfOpenClip, device)
    }

    fn file(&self) -> Location {
        self.weights.named(OPEN_CLIP_FILE)
    }
}

impl TextEncoder for OpenClipG {
    fn info(&self) -> TextInfo {
        info(WIDTH, WIDTH)
    }

    fn is_projected(&self) -> bool {
        true
    }

    fn weights(&self) -> Vec<String> {
        vec![self.file().to_string()]
    }

    fn init(&self, _seed: u64, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        Ok(Projected::boxed(Self::tower(device)?.load(&self.file(), TextTower::OpenClip)?))
    }

    fn outline(&self, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        Ok(Projected::boxed(Self::tower(device)?))
    }
}
