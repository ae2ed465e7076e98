//! The spatial transformer: attention of the pixels to each other and to the text, at one resolution.
//!
//! Rombach et al. 2022, figure 3; names as in diffusers' `Transformer2DModel`.

use add_kernels::{Checkpointing, add};
use burn::{
    module::Module,
    tensor::{Bool, Tensor},
};

use crate::layers::{Attention, Conv2d, GroupNorm, Init, LayerNorm, Linear};

/// Epsilon of the group normalisation before the projection. diffusers writes it as a constant, apart from
/// the `norm_eps` of the configuration.
const NORM_EPS: f64 = 1e-6;
/// `PyTorch`'s default of a layer normalisation.
const LAYER_NORM_EPS: f64 = 1e-5;
/// Widening of the feed-forward part.
const FEED_FORWARD_MULT: usize = 4;

/// Width, heads, depth and context of the transformers of one level.
#[derive(Debug, Clone, Copy)]
pub(super) struct TransformerOptions {
    pub(super) channels: usize,
    pub(super) heads: usize,
    pub(super) depth: usize,
    pub(super) context: usize,
    pub(super) groups: usize,
    pub(super) linear_projection: bool,
}

/// `proj_out(blocks(proj_in(norm(x)))) + x`.
#[derive(Module, Debug)]
pub(super) struct SpatialTransformer {
    norm: GroupNorm,
    proj_in: Projection,
    transformer_blocks: Vec<TransformerBlock>,
    proj_out: Projection,
}

impl SpatialTransformer {
    pub(super) fn new(o: TransformerOptions, init: &Init) -> Self {
        let block = |i| TransformerBlock::new(o, &init.at("transformer_blocks").at(i));
        Self {
            norm: GroupNorm::new(o.groups, o.channels, NORM_EPS, &init.at("norm")),
            proj_in: Projection::new(o, &init.at("proj_in")),
            transformer_blocks: (0..o.depth).map(block).collect(),
            proj_out: Projection::new(o, &init.at("proj_out")),
        }
    }

    /// `x: [B, C, H, W]`, `context: [B, M, C_context]` to `[B, C, H, W]`; `mask: [B, 1, 1, M]` hides states of the context.
    pub(super) fn forward(
        &self,
        x: Tensor<4>,
        context: &Tensor<3>,
        mask: Option<&Tensor<4, Bool>>,
        checkpointing: Checkpointing,
    ) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let tokens = self.norm.forward(x.clone()).reshape([b, c, h * w]).swap_dims(1, 2);
        let tokens = self.proj_in.forward(tokens);
        let tokens = self.transformer_blocks.iter().fold(tokens, |tokens, block| {
            let mask = mask.cloned();
            let pass = move |block: &TransformerBlock, x, context| block.forward(x, context, mask.clone());
            checkpointing.binary(block, tokens, context.clone(), pass)
        });
        add(self.proj_out.forward(tokens).swap_dims(1, 2).reshape([b, c, h, w]), x)
    }
}

/// A linear map of every pixel: SD1.5 stores it as a 1x1 convolution, SD2.1 and SDXL as a matrix.
#[derive(Module, Debug)]
enum Projection {
    Conv(Conv2d),
    Linear(Linear),
}

impl Projection {
    fn new(o: TransformerOptions, init: &Init) -> Self {
        if o.linear_projection {
            Self::Linear(Linear::new(o.channels, o.channels, init))
        } else {
            Self::Conv(Conv2d::pointwise(o.channels, o.channels, init))
        }
    }

    fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Linear(linear) => linear.forward(tokens),
            Self::Conv(conv) => conv.forward_tokens(tokens),
        }
    }
}

/// Self-attention, attention to the context, feed-forward; each with its normalisation and shortcut.
#[derive(Module, Debug)]
struct TransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff: FeedForward,
}

impl TransformerBlock {
    fn new(o: TransformerOptions, init: &Init) -> Self {
        let norm = |name| LayerNorm::new(o.channels, LAYER_NORM_EPS, &init.at(name));
        Self {
            norm1: norm("norm1"),
            attn1: Attention::new(o.channels, o.channels, o.heads, &init.at("attn1")),
            norm2: norm("norm2"),
            attn2: Attention::new(o.channels, o.context, o.heads, &init.at("attn2")),
            norm3: norm("norm3"),
            ff: FeedForward::new(o.channels, &init.at("ff")),
        }
    }

    fn forward(&self, x: Tensor<3>, context: Tensor<3>, mask: Option<Tensor<4, Bool>>) -> Tensor<3> {
        let normal = self.norm1.forward(x.clone());
        let x = add(self.attn1.forward(normal.clone(), normal), x);
        let x = add(self.attn2.forward_masked(self.norm2.forward(x.clone()), context, mask), x);
        add(self.ff.forward(self.norm3.forward(x.clone())), x)
    }
}

/// `net.2(geglu(net.0.proj(x)))`. Shazeer 2020.
#[derive(Module, Debug)]
struct FeedForward {
    net: (Gate, Dropout, Linear),
}

impl FeedForward {
    fn new(channels: usize, init: &Init) -> Self {
        let inner = FEED_FORWARD_MULT * channels;
        let proj = Linear::new(channels, 2 * inner, &init.at("net.0.proj"));
        Self { net: (Gate { proj }, Dropout, Linear::new(inner, channels, &init.at("net.2"))) }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let (gate, Dropout, out) = &self.net;
        out.forward(gate.proj.forward_geglu(x))
    }
}

#[derive(Module, Debug)]
struct Gate {
    proj: Linear,
}

/// Holds the place of diffusers' dropout, which every released model sets to zero.
#[derive(Module, Debug)]
struct Dropout;
