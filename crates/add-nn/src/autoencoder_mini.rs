//! A small autoencoder whose decoder is cheap, since a generator's loss goes through it at every step.
//!
//! The encoder is that of [`AutoencoderKl`](crate::autoencoder_kl::AutoencoderKl), small. The decoder differs in two things. It narrows its channels before each
//! enlargement instead of after it, where the same convolution would cost four times as much; and the coarsest level has the
//! middle alone. With 16, 32 and 64 channels it takes 0.1 billion multiplications for a picture of 64 pixels a side.
//! Rombach et al. 2022, without the convolutions between moments and latents.

use add_kernels::resize_nearest;
use burn::{module::Module, tensor::Tensor};

use crate::{
    autoencoder_kl::{AutoencoderKlConfig, Encoder, LatentDistribution, MidBlock, resnets},
    config::ConfigError,
    layers::{Conv2d, GroupNorm, Init},
    unet::resnet::ResnetBlock,
};

/// Encoder and decoder; pictures become latents of `2^(levels - 1)` pixels in each direction.
#[derive(Module, Debug)]
pub struct AutoencoderMini {
    encoder: Encoder,
    decoder: Decoder,
}

impl AutoencoderMini {
    /// A network with fresh values. The scale of the latents is the caller's.
    ///
    /// # Errors
    /// When the configuration does not hold together.
    pub fn new(config: &AutoencoderKlConfig, init: &Init) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            encoder: Encoder::new(config, &init.at("encoder")),
            decoder: Decoder::new(config, &init.at("decoder")),
        })
    }

    /// Pictures `[B, 3, H, W]` in [-1, 1] to the distribution of their latents `[B, C, h, w]`.
    pub fn encode(&self, x: Tensor<4>) -> LatentDistribution {
        LatentDistribution::of(self.encoder.forward(x))
    }

    /// Latents `[B, C, h, w]` to pictures `[B, 3, H, W]`, about [-1, 1].
    pub fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        self.decoder.forward(z)
    }
}

#[derive(Module, Debug)]
struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// One level, from the coarsest; the finest is not enlarged.
#[derive(Module, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    narrow: Option<Conv2d>,
}

impl Decoder {
    fn new(config: &AutoencoderKlConfig, init: &Init) -> Self {
        let (channels, norm) = (&config.block_out_channels, config.norm());
        let levels = channels.len();
        let coarsest = channels[levels - 1];
        let block = |k: usize| {
            let init = init.at("up_blocks").at(k);
            let i = levels - 1 - k;
            // The middle works on the coarsest level already.
            let layers = if k == 0 && levels > 1 { 0 } else { config.layers_per_block };
            let narrow = (i > 0).then(|| Conv2d::same3(channels[i], channels[i - 1], &init.at("narrow")));
            UpBlock { resnets: resnets(channels[i], channels[i], layers, norm, &init), narrow }
        };
        Self {
            conv_in: Conv2d::same3(config.latent_channels, coarsest, &init.at("conv_in")),
            mid_block: MidBlock::new(coarsest, norm, &init.at("mid_block")),
            up_blocks: (0..levels).map(block).collect(),
            conv_norm_out: GroupNorm::new(norm.groups, channels[0], norm.eps, &init.at("conv_norm_out")),
            conv_out: Conv2d::same3(channels[0], config.out_channels, &init.at("conv_out")),
        }
    }

    fn forward(&self, z: Tensor<4>) -> Tensor<4> {
        let mut x = self.mid_block.forward(self.conv_in.forward(z));
        for block in &self.up_blocks {
            x = block.resnets.iter().fold(x, |x, resnet| resnet.forward(x));
            if let Some(narrow) = &block.narrow {
                let [_, _, h, w] = x.dims();
                x = resize_nearest(narrow.forward(x), [2 * h, 2 * w]);
            }
        }
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn network(channels: &[usize]) -> AutoencoderMini {
        let config = AutoencoderKlConfig {
            block_out_channels: channels.to_vec(),
            layers_per_block: 1,
            norm_num_groups: 8,
            ..AutoencoderKlConfig::default()
        };
        AutoencoderMini::new(&config, &Init::new(3, &Device::flex().autodiff())).expect("valid")
    }

    #[test]
    fn latents_are_a_quarter_of_the_picture_and_lead_back_to_its_size() {
        let network = network(&[8, 16, 24]);
        let x = Tensor::<4>::full([2, 3, 16, 24], 0.3, &Device::flex());
        let LatentDistribution { mean, logvar } = network.encode(x);
        assert_eq!((mean.dims(), logvar.dims()), ([2, 4, 4, 6], [2, 4, 4, 6]));
        assert_eq!(network.decode(mean).dims(), [2, 3, 16, 24]);
    }

    #[test]
    fn a_gradient_reaches_every_parameter() {
        let network = network(&[8, 16]);
        let values: Vec<f32> = (0..3 * 64).map(|i| ((i * 37 % 101) as f32) / 50.0 - 1.0).collect();
        let x = Tensor::<4>::from_data(TensorData::new(values, [1, 3, 8, 8]), &Device::flex());
        let LatentDistribution { mean, logvar } = network.encode(x);
        let mut gradients = (network.decode(mean).square().mean() + logvar.square().mean()).backward();
        let mut parameters = 0;
        add_parameters::Network::for_each_shape(&network, &mut |_, _| parameters += 1);
        let taken = add_parameters::Network::take_gradients(&network, &mut gradients);
        assert_eq!(taken.len(), parameters);
        let still: Vec<&String> = taken
            .iter()
            // Softmax does not change when all its scores do.
            .filter(|(name, g)| {
                !name.contains("to_k.bias") && (*g).clone().abs().sum().into_scalar::<f32>() == 0.0
            })
            .map(|(name, _)| name)
            .collect();
        assert!(still.is_empty(), "{still:?}");
    }
}
