//! The pre-norm transformer layer of CLIP and of the vision transformers.
//!
//! `x += s1 * attn(norm1(x)); x += s2 * fc2(act(fc1(norm2(x))))`, with the layer scales `s` of DINOv2 or without.
//! Vaswani et al. 2017, Dosovitskiy et al. 2021, Touvron et al. 2021 (layer scale). Parameter names are those of
//! transformers' CLIP; checkpoints with fused queries, keys and values are split while loading.

use burn::{
    module::{Module, Param},
    tensor::{Bool, Tensor},
};
use serde::{Deserialize, Serialize};

use super::{Init, LayerNorm, Linear, join_heads, split_heads};

/// The nonlinearity between the two linear maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x Phi(x)` with the exact normal distribution function.
    Gelu,
    /// `x sigmoid(1.702 x)`, of `OpenAI`'s CLIP.
    QuickGelu,
}

impl Activation {
    /// Applies it to every element.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => add_kernels::gelu(x),
            Self::QuickGelu => add_kernels::quick_gelu(x),
        }
    }
}

/// Sizes and options of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EncoderOptions {
    /// Width of the tokens.
    pub channels: usize,
    /// Attention heads; they must divide `channels`.
    pub heads: usize,
    /// Width between the two linear maps.
    pub inner: usize,
    /// Added to the variance in the normalisations.
    pub eps: f64,
    /// The nonlinearity.
    pub activation: Activation,
    /// Start of the layer scales, if there are any.
    pub layer_scale: Option<f32>,
}

/// One layer.
#[derive(Module, Debug)]
pub struct EncoderLayer {
    layer_norm1: LayerNorm,
    self_attn: SelfAttention,
    layer_scale1: Option<Param<Tensor<1>>>,
    layer_norm2: LayerNorm,
    mlp: Mlp,
    layer_scale2: Option<Param<Tensor<1>>>,
}

impl EncoderLayer {
    /// With fresh values.
    pub fn new(o: EncoderOptions, init: &Init) -> Self {
        let scale = |name| o.layer_scale.map(|start| init.constant(name, [o.channels], start));
        Self {
            layer_norm1: LayerNorm::new(o.channels, o.eps, &init.at("layer_norm1")),
            self_attn: SelfAttention::new(o.channels, o.heads, &init.at("self_attn")),
            layer_scale1: scale("layer_scale1"),
            layer_norm2: LayerNorm::new(o.channels, o.eps, &init.at("layer_norm2")),
            mlp: Mlp {
                fc1: Linear::new(o.channels, o.inner, &init.at("mlp.fc1")),
                fc2: Linear::new(o.inner, o.channels, &init.at("mlp.fc2")),
                activation: o.activation,
            },
            layer_scale2: scale("layer_scale2"),
        }
    }

    /// `x: [B, N, C]`, `mask: [1, 1, N, N]` true where a token must not look, to `[B, N, C]`.
    pub fn forward(&self, x: Tensor<3>, mask: Option<&Tensor<4, Bool>>) -> Tensor<3> {
        let y = self.self_attn.forward(self.layer_norm1.forward(x.clone()), mask);
        let x = x + scaled(y, self.layer_scale1.as_ref());
        let y = self.mlp.forward(self.layer_norm2.forward(x.clone()));
        x + scaled(y, self.layer_scale2.as_ref())
    }
}

fn scaled(x: Tensor<3>, scale: Option<&Param<Tensor<1>>>) -> Tensor<3> {
    match scale {
        Some(scale) => {
            let scale = add_kernels::as_type(scale.val(), x.dtype());
            x * scale.unsqueeze()
        }
        None => x,
    }
}

#[derive(Module, Debug)]
struct SelfAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    #[module(skip)]
    heads: usize,
}

impl SelfAttention {
    fn new(channels: usize, heads: usize, init: &Init) -> Self {
        assert!(channels.is_multiple_of(heads), "{heads} heads of {channels} channels");
        let linear = |name| Linear::new(channels, channels, &init.at(name));
        let (q_proj, k_proj, v_proj) = (linear("q_proj"), linear("k_proj"), linear("v_proj"));
        Self { q_proj, k_proj, v_proj, out_proj: linear("out_proj"), heads }
    }

    fn forward(&self, x: Tensor<3>, mask: Option<&Tensor<4, Bool>>) -> Tensor<3> {
        let q = split_heads(self.q_proj.forward(x.clone()), self.heads);
        let k = split_heads(self.k_proj.forward(x.clone()), self.heads);
        let v = split_heads(self.v_proj.forward(x), self.heads);
        self.out_proj.forward(join_heads(add_kernels::attention(q, k, v, mask.cloned())))
    }
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(self.activation.apply(self.fc1.forward(x)))
    }
}
