//! The pair of text encoders of SDXL: CLIP ViT-L/14 and OpenCLIP ViT-bigG/14. Podell et al. 2023.
//!
//! A token's state is that of both before their last layer, without the final norms, side by side (768 + 1280). Pooled
//! is the projection of the second. The base model was trained with zeros in place of an empty caption's states.

use add_nn::clip_text::{ClipTextConfig, ClipTextOutput};
use add_plugin::{
    Conditioning, Entry, Plugin, PluginError, Release, ReleasedPipeline, SingleFile, TextEncoder, TextInfo,
    TextNetwork, fields, inventory,
};
use add_weights::{Location, names::found::TextTower};
use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::released::{Padding, Tower, components, file, info};

/// CLIP ViT-L/14 and OpenCLIP ViT-bigG/14: 818 M parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipLBigG {
    /// A folder with `text_encoder` and `text_encoder_2`, such as `hf://stabilityai/stable-diffusion-xl-base-1.0`, or a
    /// single file of SDXL.
    pub weights: Location,
    /// What stands for the empty caption.
    #[serde(default)]
    pub empty: EmptyCaption,
}

/// What stands for the empty caption.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EmptyCaption {
    /// Zeros, as SDXL's base model was trained.
    #[default]
    Zeros,
    /// Its encoding.
    Encoded,
}

inventory::submit!(Entry::text_encoder::<ClipLBigG>("ClipLBigG", "Podell et al. 2023; SDXL, SDXL Turbo"));

const WIDTHS: [usize; 2] = [768, 1280];

impl ClipLBigG {
    /// The files of the two.
    fn files(&self) -> [Location; 2] {
        if self.weights.is_file() {
            return [self.weights.clone(), self.weights.clone()];
        }
        ["text_encoder", "text_encoder_2"].map(|folder| file(&self.weights.join(folder)))
    }

    fn network(&self, device: &Device) -> Result<ClipLBigGNetwork, PluginError> {
        Ok(ClipLBigGNetwork {
            clip_l: Tower::outline(&ClipTextConfig::default(), Padding::End, device)?,
            big_g: Tower::outline(
                &ClipTextConfig::open_clip(WIDTHS[1], 32, 20).projected(),
                Padding::Zero,
                device,
            )?,
            empty: self.empty,
        })
    }
}

impl TextEncoder for ClipLBigG {
    fn info(&self) -> TextInfo {
        info(WIDTHS.iter().sum(), WIDTHS[1])
    }

    fn is_projected(&self) -> bool {
        true
    }

    fn weights(&self) -> Vec<String> {
        let mut files = self.files().map(|file| file.to_string()).to_vec();
        files.dedup();
        files
    }

    fn pipeline(&self) -> Option<ReleasedPipeline> {
        let first = ["text_encoder", "tokenizer"];
        let second = ["text_encoder_2", "tokenizer_2"];
        let big_g = ClipTextConfig::open_clip(WIDTHS[1], 32, 20).projected();
        let components = [
            components(&ClipTextConfig::default(), Padding::End, first, "clip_l.network."),
            components(&big_g, Padding::Zero, second, "big_g.network."),
        ];
        let zeros = self.empty == EmptyCaption::Zeros;
        Some(ReleasedPipeline {
            class: "StableDiffusionXLPipeline",
            index: fields(json!({ "force_zeros_for_empty_prompt": zeros })),
            components: components.into_iter().flatten().collect(),
            single_file: SingleFile::Sdxl,
        })
    }

    fn init(&self, _seed: u64, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        let [first, second] = self.files();
        let ClipLBigGNetwork { clip_l, big_g, empty } = self.network(device)?;
        let clip_l = clip_l.load(&first, TextTower::ClipL)?;
        let big_g = big_g.load(&second, TextTower::OpenClip)?;
        Ok(Box::new(ClipLBigGNetwork { clip_l, big_g, empty }))
    }

    fn in_release(&self, release: &Release<'_>) -> Option<Plugin<dyn TextEncoder>> {
        Some(Self { weights: Location::parse(release.place).ok()?, empty: self.empty }.into())
    }

    fn outline(&self, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        Ok(Box::new(self.network(device)?))
    }
}

#[derive(Module, Debug)]
struct ClipLBigGNetwork {
    clip_l: Tower,
    big_g: Tower,
    #[module(skip)]
    empty: EmptyCaption,
}

impl TextNetwork for ClipLBigGNetwork {
    fn encode(&self, captions: &[String]) -> Conditioning {
        let both = conditioning(self.clip_l.forward(captions), self.big_g.forward(captions));
        match self.empty {
            EmptyCaption::Encoded => both,
            EmptyCaption::Zeros => {
                let kept: Vec<f32> = captions.iter().map(|c| if c.is_empty() { 0.0 } else { 1.0 }).collect();
                let kept = TensorData::new(kept, [captions.len(), 1]);
                let kept = Tensor::<2>::from_data(kept, (&both.pooled.device(), both.pooled.dtype()));
                Conditioning::new(both.tokens * kept.clone().unsqueeze_dim(2), both.pooled * kept)
            }
        }
    }

    fn encode_windows(&self, caption: &str) -> Conditioning {
        // The two read `!` differently, so that one may need a window more.
        let windows = self.clip_l.windows(caption).max(self.big_g.windows(caption));
        if windows == 1 {
            return self.encode(&[caption.to_owned()]);
        }
        let (first, second) =
            (self.clip_l.forward_windows(caption, windows), self.big_g.forward_windows(caption, windows));
        conditioning(first, second).joined()
    }

    fn left_out(&self, caption: &str) -> Option<String> {
        let left_out = [self.clip_l.left_out(caption), self.big_g.left_out(caption)];
        left_out.into_iter().flatten().max_by_key(String::len)
    }

    fn frozen(&self) -> Box<dyn TextNetwork> {
        Box::new(self.clone())
    }
}

/// The two side by side.
fn conditioning(first: ClipTextOutput, second: ClipTextOutput) -> Conditioning {
    let pooled = second.text_embeds.expect("the configuration asks for a projection");
    let tokens = Tensor::cat(vec![penultimate(first.hidden_states), penultimate(second.hidden_states)], 2);
    Conditioning::new(tokens, pooled)
}

/// The state before the last layer.
fn penultimate(mut states: Vec<Tensor<3>>) -> Tensor<3> {
    states.swap_remove(states.len() - 2)
}
