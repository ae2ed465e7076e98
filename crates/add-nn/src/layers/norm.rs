//! Group and layer normalisation as modules.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::Init;

/// Normalises `[B, C, H, W]` over groups of channels.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[C]`.
    pub weight: Param<Tensor<1>>,
    /// `[C]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    eps: f64,
}

impl GroupNorm {
    /// The identity scale and shift; `groups` must divide `channels`.
    pub fn new(groups: usize, channels: usize, eps: f64, init: &Init) -> Self {
        assert!(channels.is_multiple_of(groups), "{groups} groups of {channels} channels");
        Self {
            weight: init.constant("weight", [channels], 1.0),
            bias: init.constant("bias", [channels], 0.0),
            groups,
            eps,
        }
    }

    /// `[B, C, H, W]` to the same shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        add_kernels::group_norm(x, self.groups, self.weight.val(), self.bias.val(), self.eps)
    }

    /// `silu(forward(x))` in one pass.
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        add_kernels::group_norm_silu(x, self.groups, self.weight.val(), self.bias.val(), self.eps)
    }
}

/// Normalises the last dimension of `[B, N, C]`.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[C]`.
    pub weight: Param<Tensor<1>>,
    /// `[C]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl LayerNorm {
    /// The identity scale and shift.
    pub fn new(channels: usize, eps: f64, init: &Init) -> Self {
        Self {
            weight: init.constant("weight", [channels], 1.0),
            bias: init.constant("bias", [channels], 0.0),
            eps,
        }
    }

    /// `[B, N, C]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        add_kernels::layer_norm(x, self.weight.val(), self.bias.val(), self.eps)
    }
}
