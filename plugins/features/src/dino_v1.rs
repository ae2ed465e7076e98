//! DINO ViT-S/16. Caron et al. 2021; ADD, Table 1a.

use add_nn::vit::VitConfig;

use crate::{
    normalise::IMAGENET,
    vit::{Released, vit_plugin},
};

vit_plugin!(
    DinoV1,
    "DINO ViT-S/16: 22 M parameters.",
    source: "Caron et al. 2021, ViT-S/16",
    weights: "A file, or a folder with `model.safetensors`, such as `hf://timm/vit_small_patch16_224.dino`.",
    size: "Side of the pictures in pixels, a multiple of 16." = 224
);

impl DinoV1 {
    #[expect(clippy::unused_self, reason = "other families have several shapes")]
    fn released(&self) -> Released {
        let (name, config) = ("dino-s16", VitConfig::dino_s16());
        Released { name, config, statistics: IMAGENET, file: "model.safetensors" }
    }
}

#[cfg(test)]
mod tests {
    use add_plugin::{FeatureNetwork, Plugin, parameter_count};
    use burn::tensor::Device;
    use ron::extensions::Extensions;

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
