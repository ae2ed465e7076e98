//! Small vision transformers that were trained on the embedded emoji alone, so that the paper's Table 1a can be redone with feature
//! networks of several kinds: [`MiniDino`] by self-distillation without labels, [`MiniClip`] by agreement with captions.

mod clip;
mod dino;

use add_nn::{
    layers::Activation,
    vit::{PositionResize, VitConfig, VitFamily},
};

pub use clip::MiniClip;
pub use dino::MiniDino;

use crate::{normalise::PLAIN, vit::Released};

/// Side of the pictures that both were trained on, in pixels.
pub const SIDE: usize = 64;
/// Width of their tokens, and of `MiniClip`'s embedding.
pub const WIDTH: usize = 128;

/// The shape of `MiniDino`: 65 tokens, six layers, 1.2 M parameters.
pub fn dino_config() -> VitConfig {
    VitConfig {
        image_size: SIDE,
        patch_size: 8,
        channels: WIDTH,
        depth: 6,
        heads: 4,
        inner: 4 * WIDTH,
        activation: Activation::Gelu,
        eps: 1e-6,
        registers: 0,
        layer_scale: None,
        family: VitFamily::Dino,
        resize: PositionResize::Antialiased,
    }
}

/// The shape of `MiniClip`'s image tower, as large.
pub fn clip_config() -> VitConfig {
    VitConfig { family: VitFamily::Clip { projection: WIDTH }, eps: 1e-5, ..dino_config() }
}

fn trained(name: &'static str, config: VitConfig) -> Released {
    Released { name, config, statistics: PLAIN, file: "model.safetensors" }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use add_nn::{layers::Init, vit::Vit};
    use add_plugin::{FeatureNetwork, Pixels, Plugin, parameter_count};
    use add_weights::{Precision, named_tensors, save};
    use burn::tensor::{Device, Tensor};
    use ron::extensions::Extensions;

    use super::*;

    fn plugin(name: &str, weights: &std::path::Path) -> Plugin<dyn FeatureNetwork> {
        let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
        options.from_str(&format!("{name}(weights: {:?})", weights.display().to_string())).expect("a recipe")
    }

    #[test]
    fn what_a_trainer_saves_is_read_as_the_same_network() {
        let (device, folder) = (Device::flex(), tempfile::tempdir().expect("a folder"));
        for (name, config, hook) in
            [("MiniDino", dino_config(), "mini-dino-5"), ("MiniClip", clip_config(), "mini-clip-5")]
        {
            let trained = Vit::new(&config, &Init::new(3, &device)).expect("it holds together");
            let path = folder.path().join(name).with_extension("safetensors");
            save(&path, &named_tensors(&trained), Precision::F32, &BTreeMap::new()).expect("written");
            let network = plugin(name, &path).init(&device).expect("it is there");
            assert_eq!((network.input_size(), network.embedding_width()), (SIDE, WIDTH));
            assert_eq!(network.hooks()[3], (hook.to_owned(), WIDTH));
            assert!((1_200_000..1_300_000).contains(&parameter_count(&*network)), "{name}");
            let x = Tensor::<4>::ones([1, 3, SIDE, SIDE], &device) * 0.3;
            // Statistics of one half leave pixels as they are.
            let difference = network.embedding(Pixels(x.clone())) - trained.image_embedding(x);
            assert!(difference.abs().max().into_scalar::<f32>() < 1e-5, "{name}");
        }
    }
}
