//! The autoencoder of Stable Diffusion: pictures to latents of an eighth of their size, and back.
//!
//! Rombach et al. 2022; numbers and parameter names are those of diffusers' `AutoencoderKL`. Both directions are
//! differentiable. Latents are scaled to unit deviation by [`AutoencoderKlConfig::scaling_factor`] outside of
//! [`encode`](AutoencoderKl::encode) and [`decode`](AutoencoderKl::decode), where the caller says which space it means.

use std::collections::BTreeMap;

use add_kernels::Checkpointing;
use burn::{module::Module, tensor::Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    config::{ConfigError, check_only, require},
    layers::{Conv2d, GroupNorm, Init, Linear},
    unet::resnet::{Downsample, NormOptions, ResnetBlock, Upsample},
};

/// Epsilon of every group normalisation; diffusers writes it as a constant.
const NORM_EPS: f64 = 1e-6;
/// Bounds of the logarithm of the variance. Rombach et al.'s code.
const LOGVAR: (f64, f64) = (-30.0, 20.0);

/// Shape of an [`AutoencoderKl`]. Reads diffusers' `config.json`; defaults are those of Stable Diffusion 1 and 2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoencoderKlConfig {
    /// Channels of a picture.
    pub in_channels: usize,
    /// Channels of a decoded picture.
    pub out_channels: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Channels of each level, from the finest.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each level; the decoder has one more.
    pub layers_per_block: usize,
    /// Groups of every group normalisation.
    pub norm_num_groups: usize,
    /// Latents times this have unit deviation: 0.18215 for SD, 0.13025 for SDXL.
    pub scaling_factor: f64,
    /// All other fields of the file: informative, or checked to hold the only supported value.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Default for AutoencoderKlConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 4,
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            other: BTreeMap::new(),
        }
    }
}

/// Options that every released model leaves at this value.
const ONLY: [(&str, &str); 6] = [
    ("act_fn", "\"silu\""),
    ("mid_block_add_attention", "true"),
    ("shift_factor", "null"),
    ("latents_mean", "null"),
    ("use_quant_conv", "true"),
    ("use_post_quant_conv", "true"),
];

impl AutoencoderKlConfig {
    /// Checks that a network can be built.
    ///
    /// # Errors
    /// Names the first field whose value does not fit the others or is not supported.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_only(&self.other, &ONLY)?;
        for (field, kind) in
            [("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")]
        {
            let all = self.other.get(field).and_then(Value::as_array).into_iter().flatten();
            for found in all {
                require(found.as_str() == Some(kind), field, format!("only {kind}"), found)?;
            }
        }
        require(!self.block_out_channels.is_empty(), "block_out_channels", "at least one level", "none")?;
        let sizes = [self.in_channels, self.out_channels, self.latent_channels, self.layers_per_block];
        let positive = sizes.iter().all(|&n| n > 0) && self.norm_num_groups > 0;
        require(
            positive,
            "in_channels, out_channels, latent_channels, layers_per_block",
            "positive numbers",
            0,
        )?;
        for &channels in &self.block_out_channels {
            let grouped = channels > 0 && channels.is_multiple_of(self.norm_num_groups);
            let expected = format!("multiples of norm_num_groups = {}", self.norm_num_groups);
            require(grouped, "block_out_channels", expected, channels)?;
        }
        Ok(())
    }

    pub(crate) fn norm(&self) -> NormOptions {
        NormOptions { groups: self.norm_num_groups, eps: NORM_EPS }
    }

    fn coarsest(&self) -> usize {
        self.block_out_channels[self.block_out_channels.len() - 1]
    }
}

/// The normal distribution of the latents of a batch of pictures.
#[derive(Debug, Clone)]
pub struct LatentDistribution {
    /// `[B, C, h, w]`; the most probable latents.
    pub mean: Tensor<4>,
    /// Logarithm of the variance, `[B, C, h, w]`, within [-30, 20].
    pub logvar: Tensor<4>,
}

impl LatentDistribution {
    /// That of moments `[B, 2 C, h, w]`: the mean, then the logarithm of the variance, which is brought into its bounds.
    pub(crate) fn of(moments: Tensor<4>) -> Self {
        let c = moments.dims()[1] / 2;
        let logvar = moments.clone().narrow(1, c, c).clamp(LOGVAR.0, LOGVAR.1);
        Self { mean: moments.narrow(1, 0, c), logvar }
    }

    /// `[B, C, h, w]`.
    pub fn std(&self) -> Tensor<4> {
        (self.logvar.clone() * 0.5).exp()
    }

    /// `mean + std * noise`, with `noise: [B, C, h, w]` from `N(0, 1)`.
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + self.std() * noise
    }
}

/// Encoder and decoder.
#[derive(Module, Debug)]
pub struct AutoencoderKl {
    encoder: Encoder,
    decoder: Decoder,
    quant_conv: Conv2d,
    post_quant_conv: Conv2d,
}

impl AutoencoderKl {
    /// A network with fresh values.
    ///
    /// # Errors
    /// When the configuration does not hold together.
    pub fn new(config: &AutoencoderKlConfig, init: &Init) -> Result<Self, ConfigError> {
        config.check()?;
        let latent = config.latent_channels;
        Ok(Self {
            encoder: Encoder::new(config, &init.at("encoder")),
            decoder: Decoder::new(config, &init.at("decoder")),
            quant_conv: Conv2d::pointwise(2 * latent, 2 * latent, &init.at("quant_conv")),
            post_quant_conv: Conv2d::pointwise(latent, latent, &init.at("post_quant_conv")),
        })
    }

    /// With `Blocks`, each residual block and the middle are computed again in the backward pass.
    #[must_use]
    pub fn with_checkpointing(self, checkpointing: Checkpointing) -> Self {
        let (encoder, decoder) = (self.encoder, self.decoder);
        Self {
            encoder: Encoder { checkpointing, ..encoder },
            decoder: Decoder { checkpointing, ..decoder },
            ..self
        }
    }

    /// Pictures `[B, 3, H, W]` in [-1, 1] to the distribution of their latents `[B, C, H / 8, W / 8]`.
    pub fn encode(&self, x: Tensor<4>) -> LatentDistribution {
        LatentDistribution::of(self.moments(x))
    }

    /// Mean and unbounded logarithm of the variance, `[B, 2 C, H / 8, W / 8]`.
    pub fn moments(&self, x: Tensor<4>) -> Tensor<4> {
        self.quant_conv.forward(self.encoder.forward(x))
    }

    /// Latents `[B, C, h, w]`, not scaled, to pictures `[B, 3, 8 h, 8 w]`, about [-1, 1].
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decoder.forward(self.post_quant_conv.forward(latents))
    }
}

#[derive(Module, Debug)]
pub(crate) struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    checkpointing: Checkpointing,
}

impl Encoder {
    pub(crate) fn new(config: &AutoencoderKlConfig, init: &Init) -> Self {
        let (channels, norm) = (&config.block_out_channels, config.norm());
        let coarsest = config.coarsest();
        let block = |i: usize| {
            let init = init.at("down_blocks").at(i);
            let (c_in, c_out) = (channels[i.saturating_sub(1)], channels[i]);
            let down = usize::from(i + 1 < channels.len());
            DownBlock {
                resnets: resnets(c_in, c_out, config.layers_per_block, norm, &init),
                downsamplers: (0..down)
                    .map(|j| Downsample::new(c_out, 0, &init.at("downsamplers").at(j)))
                    .collect(),
            }
        };
        Self {
            conv_in: Conv2d::same3(config.in_channels, channels[0], &init.at("conv_in")),
            down_blocks: (0..channels.len()).map(block).collect(),
            mid_block: MidBlock::new(coarsest, norm, &init.at("mid_block")),
            conv_norm_out: GroupNorm::new(norm.groups, coarsest, norm.eps, &init.at("conv_norm_out")),
            conv_out: Conv2d::same3(coarsest, 2 * config.latent_channels, &init.at("conv_out")),
            checkpointing: Checkpointing::Off,
        }
    }

    /// Mean and unbounded logarithm of the variance, before `quant_conv`.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.conv_in.forward(x);
        for block in &self.down_blocks {
            x = block
                .resnets
                .iter()
                .fold(x, |x, resnet| self.checkpointing.unary(resnet, x, ResnetBlock::forward));
            x = block.downsamplers.iter().fold(x, |x, downsample| downsample.forward(x));
        }
        let x = self.checkpointing.unary(&self.mid_block, x, MidBlock::forward);
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}

#[derive(Module, Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock>,
    downsamplers: Vec<Downsample>,
}

#[derive(Module, Debug)]
struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    checkpointing: Checkpointing,
}

impl Decoder {
    fn new(config: &AutoencoderKlConfig, init: &Init) -> Self {
        let (channels, norm) = (&config.block_out_channels, config.norm());
        let (levels, finest, coarsest) = (channels.len(), channels[0], config.coarsest());
        let block = |k: usize| {
            let init = init.at("up_blocks").at(k);
            let i = levels - 1 - k;
            let (c_in, c_out) = (channels[(i + 1).min(levels - 1)], channels[i]);
            let up = usize::from(i > 0);
            UpBlock {
                resnets: resnets(c_in, c_out, config.layers_per_block + 1, norm, &init),
                upsamplers: (0..up).map(|j| Upsample::new(c_out, &init.at("upsamplers").at(j))).collect(),
            }
        };
        Self {
            conv_in: Conv2d::same3(config.latent_channels, coarsest, &init.at("conv_in")),
            mid_block: MidBlock::new(coarsest, norm, &init.at("mid_block")),
            up_blocks: (0..levels).map(block).collect(),
            conv_norm_out: GroupNorm::new(norm.groups, finest, norm.eps, &init.at("conv_norm_out")),
            conv_out: Conv2d::same3(finest, config.out_channels, &init.at("conv_out")),
            checkpointing: Checkpointing::Off,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.checkpointing.unary(&self.mid_block, self.conv_in.forward(x), MidBlock::forward);
        for block in &self.up_blocks {
            x = block
                .resnets
                .iter()
                .fold(x, |x, resnet| self.checkpointing.unary(resnet, x, ResnetBlock::forward));
            x = block.upsamplers.iter().fold(x, |x, up| self.checkpointing.unary(up, x, Upsample::double));
        }
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}

#[derive(Module, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    upsamplers: Vec<Upsample>,
}

/// A level's residual blocks, the first of which changes the channels.
pub(crate) fn resnets(
    c_in: usize,
    c_out: usize,
    layers: usize,
    norm: NormOptions,
    init: &Init,
) -> Vec<ResnetBlock> {
    let from = |j| if j == 0 { c_in } else { c_out };
    (0..layers).map(|j| ResnetBlock::new(from(j), c_out, norm, &init.at("resnets").at(j))).collect()
}

#[derive(Module, Debug)]
pub(crate) struct MidBlock {
    attentions: [PixelAttention; 1],
    resnets: [ResnetBlock; 2],
}

impl MidBlock {
    pub(crate) fn new(channels: usize, norm: NormOptions, init: &Init) -> Self {
        Self {
            attentions: [PixelAttention::new(channels, norm, &init.at("attentions.0"))],
            resnets: [0, 1].map(|j| ResnetBlock::new(channels, channels, norm, &init.at("resnets").at(j))),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.attentions[0].forward(self.resnets[0].forward(x));
        self.resnets[1].forward(x)
    }
}

/// Attention of all pixels to each other with one head and a shortcut.
#[derive(Module, Debug)]
struct PixelAttention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: [Linear; 1],
}

impl PixelAttention {
    fn new(channels: usize, norm: NormOptions, init: &Init) -> Self {
        let linear = |name| Linear::new(channels, channels, &init.at(name));
        Self {
            group_norm: GroupNorm::new(norm.groups, channels, norm.eps, &init.at("group_norm")),
            to_q: linear("to_q"),
            to_k: linear("to_k"),
            to_v: linear("to_v"),
            to_out: [linear("to_out.0")],
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let tokens = self.group_norm.forward(x.clone()).reshape([b, c, h * w]).swap_dims(1, 2);
        let head = |linear: &Linear| linear.forward(tokens.clone()).unsqueeze_dim::<4>(1);
        let y = add_kernels::attention(head(&self.to_q), head(&self.to_k), head(&self.to_v), None);
        self.to_out[0].forward(y.squeeze_dim(1)).swap_dims(1, 2).reshape([b, c, h, w]) + x
    }
}
