//! DINO ViT-S/16. Caron et al. 2021; ADD, Table 1a.

use add_nn::{layers::Checkpointing, vit::VitConfig};
use add_plugin::{Entry, FeatureExtractor, FeatureNetwork, PluginError, inventory};
use add_weights::Location;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    blocks::Blocks,
    normalise::IMAGENET,
    transformer::{Spec, load, outline},
};

/// DINO ViT-S/16: 22 M parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DinoV1 {
    /// A file, or a folder with `model.safetensors`, such as `hf://timm/vit_small_patch16_224.dino`.
    weights: Location,
    /// Which tokens are features.
    #[serde(default)]
    blocks: Blocks,
    /// Whether the tokens before the first block are features too.
    #[serde(default = "yes")]
    embedded: bool,
    /// Side of the pictures in pixels, a multiple of 16.
    #[serde(default = "size")]
    size: usize,
    /// Whether the layers are computed again in the backward pass: less memory, more time.
    #[serde(default)]
    checkpointing: Checkpointing,
}

fn yes() -> bool {
    true
}

fn size() -> usize {
    224
}

inventory::submit!(Entry::feature_network::<DinoV1>("DinoV1", "Caron et al. 2021, ViT-S/16"));

impl DinoV1 {
    fn spec(&self) -> Spec {
        let config = VitConfig::dino_s16();
        Spec {
            name: "dino-s16",
            config,
            statistics: IMAGENET,
            blocks: self.blocks.resolve(config.depth),
            embedded: self.embedded,
            size: self.size,
            checkpointing: self.checkpointing,
        }
    }

    fn file(&self) -> Location {
        self.weights.named("model.safetensors")
    }
}

impl FeatureNetwork for DinoV1 {
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
    fn the_parameter_count_is_that_of_the_released_network() {
        let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
        let plugin: Plugin<dyn FeatureNetwork> =
            options.from_str("DinoV1(weights: \"hf://timm/vit_small_patch16_224.dino\")").expect("a recipe");
        let network = plugin.outline(&Device::flex()).expect("no file is read");
        assert_eq!(parameter_count(&*network), 21_665_664);
        assert_eq!(network.hooks().len(), 5);
        assert_eq!(network.hooks()[3], ("dino-s16-11".to_owned(), 384));
        assert_eq!((network.input_size(), network.embedding_width()), (224, 384));
        assert_eq!(plugin.weights(), ["hf://timm/vit_small_patch16_224.dino/model.safetensors"]);
    }
}
