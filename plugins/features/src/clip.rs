//! The image towers of CLIP: OpenAI's ViT-B/32, B/16 and L/14, OpenCLIP's ViT-H/14 and g/14. Radford et al. 2021; Cherti et al. 2023; ADD,
//! Table 1a.

use add_nn::vit::VitConfig;
use serde::{Deserialize, Serialize};

use crate::{
    normalise::CLIP,
    vit::{Released, vit_plugin},
};

vit_plugin!(
    Clip,
    "An image tower of CLIP: 86 M (B/16) to 1.0 G (g/14) parameters. The embedding is the projected class token.",
    source: "Radford et al. 2021, ViT-B and L; OpenCLIP, ViT-H/14, g/14",
    weights: "A file, or a folder with `model.safetensors` (OpenAI's, such as `hf://openai/clip-vit-large-patch14`) or \
              `open_clip_model.safetensors` (H14, G14, such as `hf://laion/CLIP-ViT-g-14-laion2B-s12B-b42K`).",
    size: "Side of the pictures in pixels, a multiple of the patches' side." = 224,
    model: ClipModel
);

/// The released shapes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClipModel {
    /// OpenAI's ViT-B/32.
    B32,
    /// OpenAI's ViT-B/16.
    B16,
    /// OpenAI's ViT-L/14.
    #[default]
    L14,
    /// OpenAI's ViT-L/14 trained on at 336 pixels, for `size: 336`.
    L14At336,
    /// OpenCLIP's ViT-H/14.
    H14,
    /// OpenCLIP's ViT-g/14.
    G14,
}

impl Clip {
    fn released(&self) -> Released {
        let (openai, open_clip) = ("model.safetensors", "open_clip_model.safetensors");
        let (name, config, file) = match self.model {
            ClipModel::B32 => ("clip-b32", VitConfig::clip_b32(), openai),
            ClipModel::B16 => ("clip-b16", VitConfig { patch_size: 16, ..VitConfig::clip_b32() }, openai),
            ClipModel::L14 => ("clip-l14", VitConfig::clip_l14(), openai),
            ClipModel::L14At336 => {
                ("clip-l14-336", VitConfig { image_size: 336, ..VitConfig::clip_l14() }, openai)
            }
            ClipModel::H14 => ("clip-h14", VitConfig::open_clip_h14(), open_clip),
            ClipModel::G14 => ("clip-g14", VitConfig::open_clip_g14(), open_clip),
        };
        Released { name, config, statistics: CLIP, file }
    }
}

#[cfg(test)]
mod tests {
    use add_plugin::{FeatureNetwork, Plugin, parameter_count};
    use burn::tensor::Device;
    use ron::extensions::Extensions;

    #[test]
    fn parameter_counts_are_those_of_the_released_towers() {
        let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
        // ViT-g/14 has 1,366,678,273 in all, of which 354,032,640 are the text tower's and one is the temperature.
        let g14 = 1_366_678_273 - 354_032_640 - 1;
        // Whole models less their text towers and temperatures.
        let (b32, b16) = (151_277_313 - 63_428_096 - 1, 149_620_737 - 63_428_096 - 1);
        let h14 = 986_109_441 - 354_032_640 - 1;
        for (model, count, width) in [
            ("B32", b32, 512),
            ("B16", b16, 512),
            ("L14", 303_966_208, 768),
            ("H14", h14, 1024),
            ("G14", g14, 1024),
        ] {
            let text = format!("Clip(weights: \"x\", model: {model}, blocks: At([0]))");
            let plugin: Plugin<dyn FeatureNetwork> = options.from_str(&text).expect("a recipe");
            let network = plugin.outline(&Device::flex()).expect("no file is read");
            assert_eq!(parameter_count(&*network), count, "{model}");
            assert_eq!((network.embedding_width(), network.hooks().len()), (width, 2));
        }
    }
}
