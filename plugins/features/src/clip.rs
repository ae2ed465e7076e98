//! The image towers of CLIP: OpenAI's ViT-L/14 and OpenCLIP's ViT-g/14. Radford et al. 2021; Cherti et al. 2023; ADD,
//! Table 1a.

use add_nn::{layers::Checkpointing, vit::VitConfig};
use add_plugin::{Entry, FeatureExtractor, FeatureNetwork, PluginError, inventory};
use add_weights::Location;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    blocks::Blocks,
    normalise::CLIP,
    transformer::{Spec, load, outline},
};

/// An image tower of CLIP: 304 M (L/14) or 1.0 G (g/14) parameters. The embedding is the projected class token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    /// A file, or a folder with `model.safetensors` (L14, such as `hf://openai/clip-vit-large-patch14`) or
    /// `open_clip_model.safetensors` (G14, such as `hf://laion/CLIP-ViT-g-14-laion2B-s12B-b42K`).
    weights: Location,
    /// Its shape.
    #[serde(default)]
    model: ClipModel,
    /// Which tokens are features.
    #[serde(default)]
    blocks: Blocks,
    /// Whether the tokens before the first block are features too.
    #[serde(default = "yes")]
    embedded: bool,
    /// Side of the pictures in pixels, a multiple of 14.
    #[serde(default = "size")]
    size: usize,
    /// Whether the layers are computed again in the backward pass: less memory, more time.
    #[serde(default)]
    checkpointing: Checkpointing,
}

/// The released shapes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClipModel {
    /// OpenAI's ViT-L/14.
    #[default]
    L14,
    /// OpenAI's ViT-L/14 trained on at 336 pixels, for `size: 336`.
    L14At336,
    /// OpenCLIP's ViT-g/14.
    G14,
}

fn yes() -> bool {
    true
}

fn size() -> usize {
    224
}

inventory::submit!(Entry::feature_network::<Clip>(
    "Clip",
    "Radford et al. 2021, ViT-L/14; OpenCLIP, ViT-g/14"
));

impl Clip {
    fn spec(&self) -> Spec {
        let (name, config) = match self.model {
            ClipModel::L14 => ("clip-l14", VitConfig::clip_l14()),
            ClipModel::L14At336 => ("clip-l14-336", VitConfig { image_size: 336, ..VitConfig::clip_l14() }),
            ClipModel::G14 => ("clip-g14", VitConfig::open_clip_g14()),
        };
        Spec {
            name,
            config,
            statistics: CLIP,
            blocks: self.blocks.resolve(config.depth),
            embedded: self.embedded,
            size: self.size,
            checkpointing: self.checkpointing,
        }
    }

    fn file(&self) -> Location {
        self.weights.named(match self.model {
            ClipModel::L14 | ClipModel::L14At336 => "model.safetensors",
            ClipModel::G14 => "open_clip_model.safetensors",
        })
    }
}

impl FeatureNetwork for Clip {
    fn weights(&self) -> Vec<String> {
        vec![self.file().to_string()]
    }

    fn init(&self, device: &Device) -> Result<Box<dyn FeatureExtractor>, PluginError> {
        Ok(Box::new(load(self.spec(), &self.file(), device)?))
    }

    fn is_checkpointed(&self) -> bool {
        self.checkpointing == Checkpointing::Blocks
    }

    fn outline(&self, device: &Device) -> Result<Box<dyn FeatureExtractor>, PluginError> {
        Ok(Box::new(outline(self.spec(), device)?))
    }
}

#[cfg(test)]
mod tests {
    use add_plugin::{Plugin, parameter_count};
    use ron::extensions::Extensions;

    use super::*;

    #[test]
    fn parameter_counts_are_those_of_the_released_towers() {
        let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
        // ViT-g/14 has 1,366,678,273 in all, of which 354,032,640 are the text tower's and one is the temperature.
        let g14 = 1_366_678_273 - 354_032_640 - 1;
        for (model, count, width) in [("L14", 303_966_208, 768), ("G14", g14, 1024)] {
            let text = format!("Clip(weights: \"x\", model: {model}, blocks: At([0]))");
            let plugin: Plugin<dyn FeatureNetwork> = options.from_str(&text).expect("a recipe");
            let network = plugin.outline(&Device::flex()).expect("no file is read");
            assert_eq!(parameter_count(&*network), count, "{model}");
            assert_eq!((network.embedding_width(), network.hooks().len()), (width, 2));
        }
    }
}
