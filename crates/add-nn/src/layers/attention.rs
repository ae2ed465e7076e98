//! Multi-head attention between two sequences: `softmax(Q K^T / sqrt(D)) V`, projected back.
//! Vaswani et al. 2017; parameter names as in diffusers.

use burn::{
    module::Module,
    tensor::{Bool, Tensor},
};

use super::{Init, Linear};

/// Attention of `[B, N, C]` to a context `[B, M, C_context]`; queries, keys and values carry no bias.
#[derive(Module, Debug)]
pub struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: [Linear; 1],
    #[module(skip)]
    heads: usize,
}

impl Attention {
    /// `heads` must divide `channels`.
    pub fn new(channels: usize, context: usize, heads: usize, init: &Init) -> Self {
        assert!(channels.is_multiple_of(heads), "{heads} heads of {channels} channels");
        Self {
            to_q: Linear::without_bias(channels, channels, &init.at("to_q")),
            to_k: Linear::without_bias(context, channels, &init.at("to_k")),
            to_v: Linear::without_bias(context, channels, &init.at("to_v")),
            to_out: [Linear::new(channels, channels, &init.at("to_out.0"))],
            heads,
        }
    }

    /// `x: [B, N, C]`, `context: [B, M, C_context]` to `[B, N, C]`.
    pub fn forward(&self, x: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        self.forward_masked(x, context, None)
    }

    /// The same under a `mask` `[B, 1, 1, M]`, true where a state of the context must not be seen. Every sample must see
    /// at least one.
    pub fn forward_masked(
        &self,
        x: Tensor<3>,
        context: Tensor<3>,
        mask: Option<Tensor<4, Bool>>,
    ) -> Tensor<3> {
        let q = split_heads(self.to_q.forward(x), self.heads);
        let k = split_heads(self.to_k.forward(context.clone()), self.heads);
        let v = split_heads(self.to_v.forward(context), self.heads);
        self.to_out[0].forward(join_heads(add_kernels::attention(q, k, v, mask)))
    }
}

/// `[B, N, H * D]` to `[B, H, N, D]`.
pub fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [b, n, c] = x.dims();
    x.reshape([b, n, heads, c / heads]).swap_dims(1, 2)
}

/// `[B, H, N, D]` to `[B, N, H * D]`.
pub fn join_heads(x: Tensor<4>) -> Tensor<3> {
    let [b, h, n, d] = x.dims();
    x.swap_dims(1, 2).reshape([b, n, h * d])
}
