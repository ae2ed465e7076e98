//! `MobileNetV2` of torchvision, trained on `ImageNet`: small enough to be embedded and to run on a laptop.
//!
//! Sandler et al. 2018. Blocks are torchvision's `features.N`. At 64 px, block 3 gives 24 channels at 16 x 16
//! places, 6: 32 at 8 x 8, 10: 64 at 4 x 4, 13: 96 at 4 x 4, 17: 320 at 2 x 2.

use add_nn::{layers::Init, mobilenet_v2::MobileNetV2 as Network};
use add_plugin::{Entry, FeatureExtractor, FeatureNetwork, Pixels, PluginError, inventory};
use add_weights::{Loading, Source, WeightsFile};
use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};
use serde::{Deserialize, Serialize};

use crate::normalise::{IMAGENET, normalised};

/// `MobileNetV2` with embedded `ImageNet` weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MobileNetV2 {
    /// The blocks whose outputs are features: 0 (the stem) to 18.
    pub blocks: Vec<usize>,
    /// The block whose mean over all places is the picture's embedding.
    pub embedding_block: usize,
}

impl Default for MobileNetV2 {
    fn default() -> Self {
        Self { blocks: vec![3, 6, 10, 13], embedding_block: 13 }
    }
}

inventory::submit!(Entry::feature_network::<MobileNetV2>("MobileNetV2", "torchvision, ImageNet-1k weights"));

/// torchvision's weights up to the last convolution, under its names, in half precision, as `gzip`.
pub static WEIGHTS: &[u8] = include_bytes!("../assets/mobilenet_v2_features_f16.safetensors.gz");
/// Side of the pictures that it is given, in pixels.
const INPUT: usize = 64;
/// The last convolution.
const LAST_BLOCK: usize = 18;

impl FeatureNetwork for MobileNetV2 {
    fn init(&self, device: &Device) -> Result<Box<dyn FeatureExtractor>, PluginError> {
        let field = |field, problem| Err(PluginError::Field { field, problem });
        if self.blocks.is_empty() {
            return field("blocks", "expected at least one block, got none".to_owned());
        }
        for (i, block) in self.blocks.iter().enumerate() {
            if *block > LAST_BLOCK || self.blocks[..i].contains(block) {
                return field(
                    "blocks",
                    format!("expected different blocks from 0 to {LAST_BLOCK}, got {block}"),
                );
            }
        }
        if self.embedding_block > LAST_BLOCK {
            let problem = format!("expected 0 to {LAST_BLOCK}, got {}", self.embedding_block);
            return field("embedding_block", problem);
        }
        // On the plain device the weights are constants: gradients reach the pictures, never them.
        let device = device.clone().without_autodiff();
        let network = load(&device)?;
        let probe = Tensor::zeros([1, 3, 32, 32], (&device, DType::F32));
        let width = |hook: &[usize]| -> Vec<usize> {
            network.forward_blocks(probe.clone(), hook).iter().map(|h| h.dims()[1]).collect()
        };
        Ok(Box::new(MobileNetFeatures {
            channels: width(&self.blocks),
            embedding_width: width(&[self.embedding_block])[0],
            blocks: self.blocks.clone(),
            embedding_block: self.embedding_block,
            network,
        }))
    }
}

/// The network with its batch normalisations folded into the convolutions.
fn load(device: &Device) -> Result<Network, PluginError> {
    let name = "mobilenet_v2_features_f16.safetensors";
    let broken = |error: add_weights::WeightsError| PluginError::File {
        path: name.into(),
        problem: error.to_string(),
    };
    let file = WeightsFile::from_gzip(name, WEIGHTS).map_err(broken)?;
    let loading = Loading {
        source: &|name| Source::Whole(Network::torchvision_name(name)),
        ignore: &|_| false,
        dtype: DType::F32,
    };
    Ok(loading.load(Network::new(&Init::new(0, device)), &file).map_err(broken)?.fold())
}

#[derive(Module, Debug)]
struct MobileNetFeatures {
    network: Network,
    #[module(skip)]
    blocks: Vec<usize>,
    #[module(skip)]
    channels: Vec<usize>,
    #[module(skip)]
    embedding_block: usize,
    #[module(skip)]
    embedding_width: usize,
}

impl FeatureExtractor for MobileNetFeatures {
    fn hooks(&self) -> Vec<(String, usize)> {
        let name = |block| format!("mobilenet-{block}");
        self.blocks.iter().zip(&self.channels).map(|(block, &channels)| (name(block), channels)).collect()
    }

    fn input_size(&self) -> usize {
        INPUT
    }

    fn embedding_width(&self) -> usize {
        self.embedding_width
    }

    fn features(&self, pixels: Pixels) -> Vec<Tensor<3>> {
        let blocks = self.network.forward_blocks(normalised(pixels, IMAGENET), &self.blocks);
        blocks.into_iter().map(|block| block.flatten(2, 3)).collect()
    }

    fn embedding(&self, pixels: Pixels) -> Tensor<2> {
        let block =
            self.network.forward_blocks(normalised(pixels, IMAGENET), &[self.embedding_block]).swap_remove(0);
        let [b, c, _, _] = block.dims();
        block.flatten::<3>(2, 3).mean_dim(2).reshape([b, c])
    }
}

#[cfg(test)]
mod tests {
    use add_plugin::Plugin;
    use ron::extensions::Extensions;

    use super::*;

    fn recipe(text: &str) -> Plugin<dyn FeatureNetwork> {
        let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
        options.from_str(text).expect("a recipe")
    }

    /// Pictures and block outputs of torchvision's class in float64 with the embedded weights.
    fn fixture() -> WeightsFile {
        let bytes = include_bytes!("../tests/fixtures/mobilenet_v2/mobilenet_v2.io.safetensors");
        WeightsFile::from_bytes("mobilenet_v2.io", bytes).expect("sound")
    }

    fn pixels(device: &Device) -> Tensor<4> {
        let flat = fixture().tensor("in.pixels", DType::F32, device).expect("there");
        flat.reshape([2, 3, INPUT, INPUT])
    }

    #[test]
    fn features_are_those_of_torchvision() {
        let device = Device::flex();
        let network = recipe("MobileNetV2(blocks: [3, 6, 10, 13, 17])").init(&device).expect("embedded");
        let hooks = network.hooks();
        let shapes = [(3, 24, 256), (6, 32, 64), (10, 64, 16), (13, 96, 16), (17, 320, 4)];
        for ((features, hook), (block, channels, places)) in
            network.features(Pixels(pixels(&device))).into_iter().zip(hooks).zip(shapes)
        {
            assert_eq!(hook, (format!("mobilenet-{block}"), channels));
            assert_eq!(features.dims(), [2, channels, places]);
            let expected = fixture().floats::<f32>(&format!("out.block{block}")).expect("there");
            let found: Vec<f32> = features.to_data().iter::<f32>().collect();
            let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let worst = expected.iter().zip(&found).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst < 1e-5 * largest, "block {block}: {worst} of {largest}");
        }
    }

    #[test]
    fn the_embedding_is_the_mean_over_places() {
        let device = Device::flex();
        let network = recipe("MobileNetV2()").init(&device).expect("embedded");
        assert_eq!((network.input_size(), network.embedding_width()), (64, 96));
        let embedding = network.embedding(Pixels(pixels(&device)));
        let mean = network.features(Pixels(pixels(&device))).swap_remove(3).mean_dim(2).reshape([2, 96]);
        let difference = (embedding - mean).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-6, "{difference}");
    }

    #[test]
    fn gradients_reach_the_picture_and_no_weight() {
        let device = Device::flex().autodiff();
        let network = recipe("MobileNetV2()").init(&device).expect("embedded");
        let x = pixels(&Device::flex()).autodiff().require_grad();
        let features = network.features(Pixels(x.clone())).swap_remove(0);
        let mut gradients = features.square().mean().backward();
        assert!(network.take_gradients(&mut gradients).is_empty());
        let gradient = x.grad(&gradients).expect("a leaf");
        assert!(gradient.abs().mean().into_scalar::<f32>() > 1e-9);
    }

    #[test]
    fn blocks_that_are_not_there_are_refused() {
        for (text, part) in [
            ("MobileNetV2(blocks: [3, 19])", "0 to 18, got 19"),
            ("MobileNetV2(blocks: [3, 3])", "different blocks from 0 to 18, got 3"),
            ("MobileNetV2(blocks: [])", "at least one block"),
            ("MobileNetV2(embedding_block: 99)", "embedding_block: expected 0 to 18, got 99"),
        ] {
            let error = recipe(text).init(&Device::flex()).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
