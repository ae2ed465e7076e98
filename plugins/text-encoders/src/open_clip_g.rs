//! The text tower of OpenCLIP ViT-g/14, the paper's `c_text`. Cherti et al. 2023; ADD, section 4.

use add_nn::clip_text::{ClipTextConfig, ClipTextOutput};
use add_plugin::{Conditioning, Entry, PluginError, TextEncoder, TextInfo, TextNetwork, inventory};
use add_weights::{Location, names::found::TextTower};
use burn::{module::Module, tensor::Device};
use serde::{Deserialize, Serialize};

use crate::released::{Padding, Tower, info};

/// OpenCLIP ViT-g/14: 354 M parameters; the last state after the final norm, pooled in CLIP's common space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenClipG {
    /// A file, or a folder with `open_clip_model.safetensors`, such as `hf://laion/CLIP-ViT-g-14-laion2B-s12B-b42K`.
    pub weights: Location,
}

inventory::submit!(Entry::text_encoder::<OpenClipG>("OpenClipG", "OpenCLIP, ViT-g/14; ADD, section 4"));

const WIDTH: usize = 1024;
/// The file of open_clip's folders.
const FILE: &str = "open_clip_model.safetensors";

impl OpenClipG {
    fn tower(device: &Device) -> Result<Tower, PluginError> {
        Tower::outline(&ClipTextConfig::open_clip(WIDTH, 24, 16).projected(), Padding::ZeroOfOpenClip, device)
    }

    fn file(&self) -> Location {
        self.weights.named(FILE)
    }
}

impl TextEncoder for OpenClipG {
    fn info(&self) -> TextInfo {
        info(WIDTH, WIDTH)
    }

    fn weights(&self) -> Vec<String> {
        vec![self.file().to_string()]
    }

    fn init(&self, _seed: u64, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        let tower = Self::tower(device)?.load(&self.file(), TextTower::OpenClip)?;
        Ok(Box::new(OpenClipGNetwork { tower }))
    }

    fn outline(&self, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        Ok(Box::new(OpenClipGNetwork { tower: Self::tower(device)? }))
    }
}

#[derive(Module, Debug)]
struct OpenClipGNetwork {
    tower: Tower,
}

impl TextNetwork for OpenClipGNetwork {
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
    let pooled = output.text_embeds.expect("the configuration asks for a projection");
    Conditioning::new(output.last_hidden_state, pooled)
}
