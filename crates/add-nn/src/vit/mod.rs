//! The vision transformers: DINO, `DINOv2`, CLIP. Frozen feature networks, differentiable in their input.
//!
//! Dosovitskiy et al. 2021. One network for all: patches through a convolution, a class token, position embeddings
//! resized the way that the weights were made for ([`PositionResize`]), pre-norm layers, a final norm.

mod config;
mod position;

use add_kernels::{Checkpointing, ConvGeometry, as_type};
use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
pub use config::{VitConfig, VitFamily};
pub use position::PositionResize;

use crate::{
    config::ConfigError,
    layers::{Conv2d, EncoderLayer, EncoderOptions, Init, LayerNorm, Linear},
};

/// Deviation of fresh tokens and position embeddings. Dosovitskiy et al. 2021.
const TOKEN_STD: f64 = 0.02;

/// Tokens at the asked depths.
#[derive(Debug, Clone)]
pub struct VitOutput {
    /// Class token, registers and patches with their positions, before the first layer, `[B, T, C]`.
    pub embedded: Tensor<3>,
    /// The tokens after each asked layer, in the order of asking, without the final norm, `[B, T, C]`.
    pub hooked: Vec<Tensor<3>>,
    /// The tokens after the last layer that was computed, `[B, T, C]`.
    pub last: Tensor<3>,
}

/// A vision transformer.
#[derive(Module, Debug)]
pub struct Vit {
    cls_token: Param<Tensor<1>>,
    register_tokens: Option<Param<Tensor<2>>>,
    position_embedding: Param<Tensor<2>>,
    patch_embedding: Conv2d,
    pre_norm: Option<LayerNorm>,
    layers: Vec<EncoderLayer>,
    post_norm: LayerNorm,
    projection: Option<Linear>,
    #[module(skip)]
    resize: PositionResize,
    #[module(skip)]
    checkpointing: Checkpointing,
}

impl Vit {
    /// A network with fresh values.
    ///
    /// # Errors
    /// When the configuration does not hold together.
    pub fn new(config: &VitConfig, init: &Init) -> Result<Self, ConfigError> {
        config.check()?;
        let (c, eps) = (config.channels, config.eps);
        let options = EncoderOptions {
            channels: c,
            heads: config.heads,
            inner: config.inner,
            eps,
            activation: config.activation,
            layer_scale: config.layer_scale,
        };
        let patches = ConvGeometry::square(config.patch_size, 0);
        let at = init.at("patch_embedding");
        let (patch_embedding, pre_norm, projection) = match config.family {
            VitFamily::Dino => (Conv2d::new(3, c, config.patch_size, patches, &at), None, None),
            VitFamily::Clip { projection } => (
                Conv2d::without_bias(3, c, [config.patch_size; 2], patches, &at),
                Some(LayerNorm::new(c, eps, &init.at("pre_norm"))),
                Some(Linear::without_bias(c, projection, &init.at("projection"))),
            ),
        };
        let registers = config.registers;
        Ok(Self {
            cls_token: init.normal("cls_token", [c], TOKEN_STD),
            register_tokens: (registers > 0)
                .then(|| init.normal("register_tokens", [registers, c], TOKEN_STD)),
            position_embedding: init.normal("position_embedding", [1 + config.grid().pow(2), c], TOKEN_STD),
            patch_embedding,
            pre_norm,
            layers: (0..config.depth).map(|i| EncoderLayer::new(options, &init.at("layers").at(i))).collect(),
            post_norm: LayerNorm::new(c, eps, &init.at("post_norm")),
            projection,
            resize: config.resize,
            checkpointing: Checkpointing::Off,
        })
    }

    /// With `Blocks`, each layer is computed again in the backward pass.
    #[must_use]
    pub fn with_checkpointing(self, checkpointing: Checkpointing) -> Self {
        Self { checkpointing, ..self }
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// The position table, class row first, for a grid of `[h, w]` patches: `[1 + h * w, C]`.
    pub fn positions(&self, grid: [usize; 2]) -> Tensor<2> {
        let table = self.position_embedding.val();
        let [rows, _] = table.dims();
        let patches = self.resize.apply(table.clone().narrow(0, 1, rows - 1), grid);
        Tensor::cat(vec![table.narrow(0, 0, 1), patches], 0)
    }

    /// `x: [B, 3, H, W]`, already normalised, to tokens `[B, 1 + registers + H / p * W / p, C]` with positions.
    pub fn embed(&self, x: Tensor<4>) -> Tensor<3> {
        let patches = self.patch_embedding.forward(x);
        let [b, c, h, w] = patches.dims();
        let patches = patches.reshape([b, c, h * w]).swap_dims(1, 2);
        let dtype = patches.dtype();
        let cls = as_type(self.cls_token.val(), dtype).reshape([1, 1, c]).expand([b, 1, c]);
        let positions = as_type(self.positions([h, w]), dtype);
        let tokens = Tensor::cat(vec![cls, patches], 1) + positions.unsqueeze();
        let Some(registers) = &self.register_tokens else { return tokens };
        let registers = as_type(registers.val(), dtype);
        let [r, _] = registers.dims();
        let registers = registers.unsqueeze::<3>().expand([b, r, c]);
        let cls = tokens.clone().narrow(1, 0, 1);
        Tensor::cat(vec![cls, registers, tokens.narrow(1, 1, h * w)], 1)
    }

    /// The tokens after the layers numbered in `hooks` (0-based); nothing beyond the last of them is computed,
    /// and everything if `hooks` is empty.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn forward_blocks(&self, x: Tensor<4>, hooks: &[usize]) -> VitOutput {
        let depth = hooks.iter().max().map_or(self.depth(), |deepest| deepest + 1);
        assert!(depth <= self.depth(), "layer {} of {}", depth - 1, self.depth());
        let embedded = self.embed(x);
        let mut x = match &self.pre_norm {
            Some(norm) => norm.forward(embedded.clone()),
            None => embedded.clone(),
        };
        let mut hooked: Vec<Option<Tensor<3>>> = vec![None; hooks.len()];
        for (i, layer) in self.layers[..depth].iter().enumerate() {
            x = self.checkpointing.unary(layer, x, |layer, x| layer.forward(x, None));
            for (place, _) in hooked.iter_mut().zip(hooks).filter(|&(_, &hook)| hook == i) {
                *place = Some(x.clone());
            }
        }
        VitOutput { embedded, hooked: hooked.into_iter().flatten().collect(), last: x }
    }

    /// The final norm on the tokens after the last layer, `[B, T, C]`.
    pub fn normalise(&self, last: Tensor<3>) -> Tensor<3> {
        self.post_norm.forward(last)
    }

    /// The picture as one vector: the class token after the final norm, `[B, C]`, projected where the weights
    /// have a projection.
    pub fn image_embedding(&self, x: Tensor<4>) -> Tensor<2> {
        let last = self.forward_blocks(x, &[]).last;
        let cls = self.normalise(last.narrow(1, 0, 1)).squeeze_dim(1);
        match &self.projection {
            Some(projection) => projection.forward_rows(cls),
            None => cls,
        }
    }
}
