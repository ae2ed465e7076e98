//! The affine map, with the weight as PyTorch stores it.

use burn::tensor::Tensor;

/// `x: [B, N, C_in]`, `weight: [C_out, C_in]`, `bias: [C_out]` to `[B, N, C_out]`.
pub fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    linear_reference(x, weight, bias)
}

/// The same by pure operations.
#[doc(hidden)]
pub fn linear_reference(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [b, n, c_in] = x.dims();
    let [c_out, _] = weight.dims();
    let y = x.reshape([b * n, c_in]).matmul(weight.transpose());
    let y = match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    };
    y.reshape([b, n, c_out])
}
