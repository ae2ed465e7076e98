//! The text encoder of Stable Diffusion 1: OpenAI's CLIP ViT-L/14. Radford et al. 2021; Rombach et al. 2022.

use add_nn::clip_text::{ClipTextConfig, ClipTextOutput};
use add_plugin::{
    Conditioning, Entry, Plugin, PluginError, Release, ReleasedPipeline, SingleFile, TextEncoder, TextInfo,
    TextNetwork, inventory,
};
use add_weights::{Location, names::found::TextTower};
use burn::{module::Module, tensor::Device};
use serde::{Deserialize, Serialize};

use crate::released::{Padding, Tower, file, info, pipeline};

/// CLIP ViT-L/14: 123 M parameters; the last state after the final norm, pooled at the end of the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipL {
    /// A file, or a folder with `model.safetensors`, such as
    /// `hf://stable-diffusion-v1-5/stable-diffusion-v1-5/text_encoder`. A single file of Stable Diffusion will do.
    pub weights: Location,
}

inventory::submit!(Entry::text_encoder::<ClipL>("ClipL", "OpenAI, ViT-L/14; Stable Diffusion 1"));

impl ClipL {
    fn tower(device: &Device) -> Result<Tower, PluginError> {
        Tower::outline(&ClipTextConfig::default(), Padding::End, device)
    }
}

impl TextEncoder for ClipL {
    fn info(&self) -> TextInfo {
        info(768, 768)
    }

    fn weights(&self) -> Vec<String> {
        vec![file(&self.weights).to_string()]
    }

    fn pipeline(&self) -> Option<ReleasedPipeline> {
        Some(pipeline(&ClipTextConfig::default(), Padding::End, SingleFile::Sd1))
    }

    fn init(&self, _seed: u64, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        let tower = Self::tower(device)?.load(&file(&self.weights), TextTower::ClipL)?;
        Ok(Box::new(ClipLNetwork { tower }))
    }

    fn in_release(&self, release: &Release<'_>) -> Option<Plugin<dyn TextEncoder>> {
        Some(Self { weights: Location::parse(&release.part("text_encoder")).ok()? }.into())
    }

    fn outline(&self, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        Ok(Box::new(ClipLNetwork { tower: Self::tower(device)? }))
    }
}

#[derive(Module, Debug)]
struct ClipLNetwork {
    tower: Tower,
}

impl TextNetwork for ClipLNetwork {
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
