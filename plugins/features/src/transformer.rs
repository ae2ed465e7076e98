//! What the vision transformers share: pixels in, patch tokens with the class token added out, as StyleGAN-T reads them.
//!
//! Pictures in [-1, 1] are brought to the mean and deviation that the network was trained on; tokens are taken after
//! the hooked blocks and, as a last hook, with their positions before the first block, all before any final norm; the
//! class token is added to every patch token ("add readout"), registers are left out. Sauer et al. 2023; ADD, section 3.2.

use add_nn::{
    layers::{Checkpointing, Init},
    vit::{Vit, VitConfig, VitFamily},
};
use add_plugin::{FeatureExtractor, Pixels, PluginError};
use add_weights::{Location, names::found};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use crate::normalise::{Statistics, normalised};

/// What a plugin says about its network.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Beginning of the hooks' names.
    pub(crate) name: &'static str,
    /// Its architecture.
    pub(crate) config: VitConfig,
    /// Statistics of the pictures that it was trained on.
    pub(crate) statistics: Statistics,
    /// Hooked blocks.
    pub(crate) blocks: Vec<usize>,
    /// Whether the tokens before the first block are a hook too.
    pub(crate) embedded: bool,
    /// Side of the pictures, in pixels.
    pub(crate) size: usize,
    /// Whether the layers are computed again in the backward pass.
    pub(crate) checkpointing: Checkpointing,
}

/// The network without its weights. On the plain device these are constants: gradients reach the pictures, never them.
pub(crate) fn outline(spec: Spec, device: &Device) -> Result<VitFeatures, PluginError> {
    let field = |field, problem| Err(PluginError::Field { field, problem });
    let depth = spec.config.depth;
    if spec.blocks.is_empty() && !spec.embedded {
        return field("blocks", "expected at least one block, got none".to_owned());
    }
    for (i, block) in spec.blocks.iter().enumerate() {
        if *block >= depth || spec.blocks[..i].contains(block) {
            return field(
                "blocks",
                format!("expected different blocks from 0 to {}, got {block}", depth - 1),
            );
        }
    }
    let patch = spec.config.patch_size;
    if spec.size == 0 || !spec.size.is_multiple_of(patch) {
        return field("size", format!("expected a multiple of the patch size, {patch}, got {}", spec.size));
    }
    let network = Vit::new(&spec.config, &Init::new(0, &device.clone().without_autodiff()))
        .map_err(|problem| PluginError::Mismatch(format!("the vision transformer: {problem}")))?;
    Ok(VitFeatures { network: network.with_checkpointing(spec.checkpointing), spec })
}

/// The network with the weights of a file.
pub(crate) fn load(spec: Spec, weights: &Location, device: &Device) -> Result<VitFeatures, PluginError> {
    let VitFeatures { network, spec } = outline(spec, device)?;
    let read = || {
        let file = weights.open()?;
        found::vit(&file)?.load(network, &file)
    };
    let network = read().map_err(|error| PluginError::Weights(error.to_string()))?;
    Ok(VitFeatures { network, spec })
}

#[derive(Module, Debug)]
pub(crate) struct VitFeatures {
    network: Vit,
    #[module(skip)]
    spec: Spec,
}

impl VitFeatures {
    /// `[B, T, C]` to `[B, C, N]`: patches, each with the class token added.
    fn readout(&self, tokens: Tensor<3>) -> Tensor<3> {
        let [_, count, _] = tokens.dims();
        let first = 1 + self.spec.config.registers;
        let patches = tokens.clone().narrow(1, first, count - first);
        (patches + tokens.narrow(1, 0, 1)).swap_dims(1, 2)
    }
}

impl FeatureExtractor for VitFeatures {
    fn hooks(&self) -> Vec<(String, usize)> {
        let (name, channels) = (self.spec.name, self.spec.config.channels);
        let blocks = self.spec.blocks.iter().map(|block| (format!("{name}-{block}"), channels));
        blocks.chain(self.spec.embedded.then(|| (format!("{name}-embedded"), channels))).collect()
    }

    fn input_size(&self) -> usize {
        self.spec.size
    }

    fn embedding_width(&self) -> usize {
        match self.spec.config.family {
            VitFamily::Dino => self.spec.config.channels,
            VitFamily::Clip { projection } => projection,
        }
    }

    fn features(&self, pixels: Pixels) -> Vec<Tensor<3>> {
        let x = normalised(pixels, self.spec.statistics);
        if self.spec.blocks.is_empty() {
            return vec![self.readout(self.network.embed(x))];
        }
        let output = self.network.forward_blocks(x, &self.spec.blocks);
        let embedded = self.spec.embedded.then_some(output.embedded);
        output.hooked.into_iter().chain(embedded).map(|tokens| self.readout(tokens)).collect()
    }

    fn embedding(&self, pixels: Pixels) -> Tensor<2> {
        self.network.image_embedding(normalised(pixels, self.spec.statistics))
    }
}

#[cfg(test)]
mod tests {
    use add_nn::vit::VitConfig;
    use burn::tensor::Device;

    use super::*;
    use crate::normalise::IMAGENET;

    fn tiny(registers: usize, blocks: Vec<usize>, embedded: bool) -> Result<VitFeatures, PluginError> {
        let config = VitConfig {
            image_size: 8,
            patch_size: 4,
            channels: 8,
            depth: 4,
            heads: 2,
            inner: 16,
            registers,
            ..VitConfig::dino_s16()
        };
        let spec = Spec {
            name: "tiny",
            config,
            statistics: IMAGENET,
            blocks,
            embedded,
            size: 8,
            checkpointing: Checkpointing::Off,
        };
        outline(spec, &Device::flex().autodiff())
    }

    fn pixels() -> Tensor<4> {
        let ramp = Tensor::<1, burn::tensor::Int>::arange(0..2 * 3 * 64, &Device::flex()).float();
        (ramp / 192.0 - 1.0).reshape([2, 3, 8, 8])
    }

    #[test]
    fn every_patch_carries_the_class_token_and_registers_are_left_out() {
        for registers in [0, 3] {
            let net = tiny(registers, vec![1, 3], true).expect("valid");
            let features = net.features(Pixels(pixels()));
            let names = net.hooks();
            assert_eq!(
                names.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(),
                ["tiny-1", "tiny-3", "tiny-embedded"]
            );
            assert_eq!(features.len(), 3);
            let tokens = net.network.forward_blocks(normalised(Pixels(pixels()), IMAGENET), &[1]).last;
            for (patch, place) in [(0, 1 + registers), (3, 4 + registers)] {
                let expected = tokens.clone().narrow(1, place, 1) + tokens.clone().narrow(1, 0, 1);
                let found = features[0].clone().narrow(2, patch, 1).swap_dims(1, 2);
                assert!((expected - found).abs().max().into_scalar::<f32>() < 1e-6);
            }
            assert!(features.iter().all(|f| f.dims() == [2, 8, 4]));
        }
    }

    #[test]
    fn gradients_reach_the_picture_and_no_weight() {
        let net = tiny(0, vec![3], true).expect("valid");
        let x = pixels().autodiff().require_grad();
        let features = net.features(Pixels(x.clone()));
        let embedding = net.embedding(Pixels(x.clone()));
        let sum = features.into_iter().map(|f| f.square().sum()).reduce(|a, b| a + b).expect("two");
        let mut gradients = (sum + embedding.sum()).backward();
        assert!(add_plugin::Network::take_gradients(&net, &mut gradients).is_empty());
        assert!(x.grad(&gradients).expect("a leaf").abs().sum().into_scalar::<f32>() > 1e-6);
    }

    #[test]
    fn hooks_that_are_not_there_are_refused() {
        for (blocks, embedded, part) in [
            (vec![1, 4], true, "0 to 3, got 4"),
            (vec![1, 1], true, "different blocks"),
            (vec![], false, "at least one block"),
        ] {
            let error = tiny(0, blocks, embedded).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(tiny(0, vec![], true).expect("one hook").features(Pixels(pixels())).len(), 1);
    }
}
