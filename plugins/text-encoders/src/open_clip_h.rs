//! The text encoder of Stable Diffusion 2 and SD-Turbo: OpenCLIP ViT-H/14. Cherti et al. 2023; Rombach et al. 2022.
//!
//! The released files hold 23 of its 24 layers: the denoiser was trained on the state before the last layer, after the
//! final norm. A file with all 24 will do, its last layer is passed over.

use add_nn::clip_text::{ClipTextConfig, ClipTextOutput};
use add_plugin::{
    Conditioning, Entry, Plugin, PluginError, Release, ReleasedPipeline, SingleFile, TextEncoder, TextInfo,
    TextNetwork, inventory,
};
use add_weights::{Location, names::found::TextTower};
use burn::{module::Module, tensor::Device};
use serde::{Deserialize, Serialize};

use crate::released::{Padding, Tower, file, info, pipeline};

/// OpenCLIP ViT-H/14 without its last layer: 340 M parameters; the last state after the final norm, pooled at the end
/// of the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenClipH {
    /// A file, or a folder with `model.safetensors`, such as `hf://stabilityai/sd-turbo/text_encoder`. A single file of
    /// Stable Diffusion 2 will do.
    pub weights: Location,
}

inventory::submit!(Entry::text_encoder::<OpenClipH>(
    "OpenClipH",
    "OpenCLIP, ViT-H/14; Stable Diffusion 2, SD Turbo"
));

const WIDTH: usize = 1024;

impl OpenClipH {
    fn tower(device: &Device) -> Result<Tower, PluginError> {
        Tower::outline(&ClipTextConfig::open_clip(WIDTH, 23, 16), Padding::Zero, device)
    }
}

impl TextEncoder for OpenClipH {
    fn info(&self) -> TextInfo {
        info(WIDTH, WIDTH)
    }

    fn weights(&self) -> Vec<String> {
        vec![file(&self.weights).to_string()]
    }

    fn pipeline(&self) -> Option<ReleasedPipeline> {
        Some(pipeline(&ClipTextConfig::open_clip(WIDTH, 23, 16), Padding::Zero, SingleFile::Sd2))
    }

    fn init(&self, _seed: u64, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        let tower = Self::tower(device)?.load(&file(&self.weights), TextTower::OpenClip)?;
        Ok(Box::new(OpenClipHNetwork { tower }))
    }

    fn in_release(&self, release: &Release<'_>) -> Option<Plugin<dyn TextEncoder>> {
        Some(Self { weights: Location::parse(&release.part("text_encoder")).ok()? }.into())
    }

    fn outline(&self, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        Ok(Box::new(OpenClipHNetwork { tower: Self::tower(device)? }))
    }
}

#[derive(Module, Debug)]
struct OpenClipHNetwork {
    tower: Tower,
}

impl TextNetwork for OpenClipHNetwork {
    fn encode(&self, captions: &[String]) -> Conditioning {
        conditioning(self.tower.forward(captions))
    }

    fn encode_windows(&self, caption: &str) -> Conditioning {
        conditioning(self.tower.forward_windows(caption, 1)).joined()
    }

    fn left_out(&self, caption: &str) -> Option<String> {
        self.tower.left_out(caption)
    }

    fn frozen(&self) -> Box<dyn TextNetwork> {
        Box::new(self.clone())
    }
}

fn conditioning(output: ClipTextOutput) -> Conditioning {
    Conditioning::new(output.last_hidden_state, output.pooled)
}
