//! Layer normalisation over the last dimension.

use burn::tensor::Tensor;

/// `x: [B, N, C]` with `weight`, `bias`: `[C]`; biased variance, as in PyTorch.
pub fn layer_norm(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    layer_norm_reference(x, weight, bias, eps)
}

/// The same by pure operations.
#[doc(hidden)]
pub fn layer_norm_reference(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2);
    centred / (variance + eps).sqrt() * weight.unsqueeze() + bias.unsqueeze()
}
