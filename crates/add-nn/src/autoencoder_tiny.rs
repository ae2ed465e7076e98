//! The tiny autoencoder (TAESD): the same latents as the large one at a fiftieth of the cost, blurrier.
//!
//! Bohan 2023; numbers and parameter names are those of diffusers' `AutoencoderTiny`. Its latents need no scaling
//! factor: they are those that the denoiser sees.

use std::collections::BTreeMap;

use add_kernels::{add, relu, resize_nearest};
use burn::{module::Module, tensor::Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    config::{ConfigError, check_only, require},
    layers::{Conv2d, ConvGeometry, Init},
};

/// Latents are bounded softly to plus and minus this before decoding.
const LATENT_BOUND: f64 = 3.0;

/// Shape of an [`AutoencoderTiny`]. Reads diffusers' `config.json`; defaults are those of TAESD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoencoderTinyConfig {
    /// Channels of a picture.
    pub in_channels: usize,
    /// Channels of a decoded picture.
    pub out_channels: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Channels of each level of the encoder; all the same.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of each level of the decoder; all the same.
    pub decoder_block_out_channels: Vec<usize>,
    /// Blocks of each level of the encoder.
    pub num_encoder_blocks: Vec<usize>,
    /// Blocks of each level of the decoder.
    pub num_decoder_blocks: Vec<usize>,
    /// All other fields of the file: informative, or checked to hold the only supported value.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Default for AutoencoderTinyConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 4,
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            other: BTreeMap::new(),
        }
    }
}

const ONLY: [(&str, &str); 4] = [
    ("act_fn", "\"relu\""),
    ("upsampling_scaling_factor", "2"),
    ("upsample_fn", "\"nearest\""),
    ("scaling_factor", "1"),
];

impl AutoencoderTinyConfig {
    /// Checks that a network can be built.
    ///
    /// # Errors
    /// Names the first field whose value does not fit the others or is not supported.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_only(&self.other, &ONLY)?;
        for (field, channels, blocks) in [
            ("encoder_block_out_channels", &self.encoder_block_out_channels, &self.num_encoder_blocks),
            ("decoder_block_out_channels", &self.decoder_block_out_channels, &self.num_decoder_blocks),
        ] {
            let same =
                channels.first().is_some_and(|&first| first > 0 && channels.iter().all(|&c| c == first));
            require(same, field, "equal positive numbers", format!("{channels:?}"))?;
            require(
                channels.len() == blocks.len(),
                field,
                format!("{} entries", blocks.len()),
                channels.len(),
            )?;
        }
        let sizes = [self.in_channels, self.out_channels, self.latent_channels];
        let positive = sizes.iter().all(|&n| n > 0);
        require(
            positive,
            "in_channels, out_channels, latent_channels",
            "positive numbers",
            format!("{sizes:?}"),
        )
    }
}

/// Encoder and decoder.
#[derive(Module, Debug)]
pub struct AutoencoderTiny {
    encoder: Sequence,
    decoder: Sequence,
}

impl AutoencoderTiny {
    /// A network with fresh values.
    ///
    /// # Errors
    /// When the configuration does not hold together.
    pub fn new(config: &AutoencoderTinyConfig, init: &Init) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            encoder: Sequence::encoder(config, &init.at("encoder.layers")),
            decoder: Sequence::decoder(config, &init.at("decoder.layers")),
        })
    }

    /// Pictures `[B, 3, H, W]` in [-1, 1] to latents `[B, C, H / 8, W / 8]`.
    pub fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        self.encoder.forward((x + 1.0) / 2.0)
    }

    /// Latents `[B, C, h, w]` to pictures `[B, 3, 8 h, 8 w]`, about [-1, 1].
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let bounded = (latents / LATENT_BOUND).tanh() * LATENT_BOUND;
        self.decoder.forward(bounded) * 2.0 - 1.0
    }
}

/// Parts one after the other, named by their position.
#[derive(Module, Debug)]
struct Sequence {
    layers: Vec<Part>,
}

#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a network has a few dozen of them")]
enum Part {
    Conv(Conv2d),
    Block(Block),
    Relu(Relu),
    Double(Double),
}

impl Sequence {
    fn encoder(config: &AutoencoderTinyConfig, init: &Init) -> Self {
        let c = config.encoder_block_out_channels[0];
        let mut layers = Vec::new();
        for (i, &blocks) in config.num_encoder_blocks.iter().enumerate() {
            let at = init.at(layers.len());
            layers.push(Part::Conv(match i {
                0 => Conv2d::same3(config.in_channels, c, &at),
                _ => Conv2d::without_bias(c, c, [3, 3], ConvGeometry::square(2, 1), &at),
            }));
            push_blocks(&mut layers, blocks, c, init);
        }
        let last = Conv2d::same3(c, config.latent_channels, &init.at(layers.len()));
        layers.push(Part::Conv(last));
        Self { layers }
    }

    fn decoder(config: &AutoencoderTinyConfig, init: &Init) -> Self {
        let c = config.decoder_block_out_channels[0];
        let mut layers =
            vec![Part::Conv(Conv2d::same3(config.latent_channels, c, &init.at(0))), Part::Relu(Relu)];
        for (i, &blocks) in config.num_decoder_blocks.iter().enumerate() {
            push_blocks(&mut layers, blocks, c, init);
            if i + 1 < config.num_decoder_blocks.len() {
                layers.push(Part::Double(Double));
                let at = init.at(layers.len());
                layers.push(Part::Conv(Conv2d::without_bias(c, c, [3, 3], ConvGeometry::square(1, 1), &at)));
            } else {
                let at = init.at(layers.len());
                layers.push(Part::Conv(Conv2d::same3(c, config.out_channels, &at)));
            }
        }
        Self { layers }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.layers.iter().fold(x, |x, part| match part {
            Part::Conv(conv) => conv.forward(x),
            Part::Block(block) => block.forward(x),
            Part::Relu(Relu) => relu(x),
            Part::Double(Double) => {
                let [_, _, h, w] = x.dims();
                resize_nearest(x, [2 * h, 2 * w])
            }
        })
    }
}

fn push_blocks(layers: &mut Vec<Part>, blocks: usize, channels: usize, init: &Init) {
    for _ in 0..blocks {
        let block = Block::new(channels, &init.at(layers.len()).at("conv"));
        layers.push(Part::Block(block));
    }
}

/// `relu(conv(relu(conv(relu(conv(x))))) + x)`.
#[derive(Module, Debug)]
struct Block {
    conv: (Conv2d, Relu, Conv2d, Relu, Conv2d),
}

impl Block {
    fn new(channels: usize, init: &Init) -> Self {
        let conv = |i: usize| Conv2d::same3(channels, channels, &init.at(i));
        Self { conv: (conv(0), Relu, conv(2), Relu, conv(4)) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (first, Relu, second, _, third) = &self.conv;
        let y = third.forward(relu(second.forward(relu(first.forward(x.clone())))));
        relu(add(y, x))
    }
}

/// Holds the place of a nonlinearity among numbered layers.
#[derive(Module, Debug)]
struct Relu;

/// Holds the place of an enlargement among numbered layers.
#[derive(Module, Debug)]
struct Double;
