//! Two-dimensional convolution over `[B, C, H, W]`.

use burn::tensor::{Tensor, module, ops::ConvOptions};

/// Stride and zero padding of a convolution, each `[rows, columns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Step of the window.
    pub stride: [usize; 2],
    /// Zeros added on both sides.
    pub padding: [usize; 2],
    /// Groups of channels that are convolved apart from each other.
    pub groups: usize,
}

impl ConvGeometry {
    /// One group, the same stride and padding in both directions.
    pub const fn square(stride: usize, padding: usize) -> Self {
        Self { stride: [stride; 2], padding: [padding; 2], groups: 1 }
    }
}

/// `x: [B, C_in, H, W]`, `weight: [C_out, C_in / groups, k_h, k_w]`, `bias: [C_out]` to `[B, C_out, H', W']`.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, geometry: ConvGeometry) -> Tensor<4> {
    let ConvGeometry { stride, padding, groups } = geometry;
    module::conv2d(x, weight, bias, ConvOptions::new(stride, padding, [1, 1], groups))
}
