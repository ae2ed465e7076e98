//! Group normalisation, alone or followed by `SiLU`.

use burn::tensor::{Tensor, activation};

/// `x: [B, C, H, W]` in `groups` groups of channels, with `weight`, `bias`: `[C]`; biased variance.
pub fn group_norm(x: Tensor<4>, groups: usize, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let x = x.reshape([b, groups, c / groups * h * w]);
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2);
    let normal = (centred / (variance + eps).sqrt()).reshape([b, c, h, w]);
    normal * weight.reshape([1, c, 1, 1]) + bias.reshape([1, c, 1, 1])
}

/// `silu(group_norm(x))`.
pub fn group_norm_silu(x: Tensor<4>, groups: usize, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<4> {
    activation::silu(group_norm(x, groups, weight, bias, eps))
}
