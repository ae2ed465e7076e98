//! DINOv2, with and without registers. Oquab et al. 2023; Darcet et al. 2023; ADD, Table 1a.

use add_nn::vit::VitConfig;
use serde::{Deserialize, Serialize};

use crate::{
    normalise::IMAGENET,
    vit::{Released, vit_plugin},
};

vit_plugin!(
    DinoV2,
    "DINOv2: 22 M (S/14) or 304 M (L/14) parameters.",
    source: "Oquab et al. 2023, ViT-S/14 and L/14",
    weights: "A file, or a folder with `model.safetensors`, such as `hf://timm/vit_small_patch14_dinov2.lvd142m`, \
              `hf://facebook/dinov2-large` or `hf://facebook/dinov2-with-registers-large`.",
    size: "Side of the pictures in pixels, a multiple of 14." = 224,
    model: DinoV2Model
);

/// The released shapes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DinoV2Model {
    /// The small network, ViT-S/14.
    #[default]
    S14,
    /// The large network, ViT-L/14.
    L14,
    /// ViT-S/14 with four registers.
    S14Registers,
    /// ViT-L/14 with four registers.
    L14Registers,
}

impl DinoV2 {
    fn released(&self) -> Released {
        let (name, config) = match self.model {
            DinoV2Model::S14 => ("dinov2-s14", VitConfig::dinov2_s14()),
            DinoV2Model::L14 => ("dinov2-l14", VitConfig::dinov2_l14()),
            DinoV2Model::S14Registers => ("dinov2-s14-registers", VitConfig::dinov2_s14().with_registers()),
            DinoV2Model::L14Registers => ("dinov2-l14-registers", VitConfig::dinov2_l14().with_registers()),
        };
        Released { name, config, statistics: IMAGENET, file: "model.safetensors" }
    }
}

#[cfg(test)]
mod tests {
    use add_plugin::{FeatureNetwork, Plugin, parameter_count};
    use burn::tensor::Device;
    use ron::extensions::Extensions;

    #[test]
    fn parameter_counts_are_those_of_the_released_networks() {
        let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
        // The released counts less the mask token (384, 1024), which only pretraining uses.
        for (model, count, hooks) in [
            ("S14", 22_056_576 - 384, [2, 5, 8, 11]),
            ("L14", 304_368_640 - 1024, [5, 11, 17, 23]),
            ("S14Registers", 22_056_576 - 384 + 4 * 384, [2, 5, 8, 11]),
            ("L14Registers", 304_368_640 - 1024 + 4 * 1024, [5, 11, 17, 23]),
        ] {
            let text = format!("DinoV2(weights: \"x\", model: {model})");
            let plugin: Plugin<dyn FeatureNetwork> = options.from_str(&text).expect("a recipe");
            let network = plugin.outline(&Device::flex()).expect("no file is read");
            assert_eq!(parameter_count(&*network), count, "{model}");
            let names: Vec<String> = network.hooks().into_iter().map(|(name, _)| name).collect();
            for (name, block) in names.iter().zip(hooks) {
                assert!(name.ends_with(&format!("-{block}")), "{name}");
            }
            assert_eq!(names.len(), 5);
        }
    }
}
