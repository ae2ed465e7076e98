//! Scaled dot-product attention.

use burn::tensor::{Bool, Tensor, activation};

/// `q: [B, H, N, D]`, `k`, `v`: `[B, H, M, D]` to `[B, H, N, D]`, scaled by `1 / sqrt(D)`.
/// `mask: [1, 1, N, M]` is true where a key must not be seen.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Option<Tensor<4, Bool>>) -> Tensor<4> {
    attention_reference(q, k, v, mask)
}

/// The same by pure operations.
#[doc(hidden)]
pub fn attention_reference(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Option<Tensor<4, Bool>>) -> Tensor<4> {
    let [b, h, n, d] = q.dims();
    let m = k.dims()[2];
    let scores = q.matmul(k.transpose()) / (d as f64).sqrt();
    let scores = match mask {
        Some(mask) => scores.mask_fill(mask.expand([b, h, n, m]), f32::NEG_INFINITY),
        None => scores,
    };
    activation::softmax(scores, 3).matmul(v)
}
