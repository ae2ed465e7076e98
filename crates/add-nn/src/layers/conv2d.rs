//! Two-dimensional convolution as a module.

use add_kernels::ConvGeometry;
use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::{Init, Lora};

/// A convolution over `[B, C, H, W]`.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[C_out, C_in / groups, k_h, k_w]`.
    pub weight: Param<Tensor<4>>,
    /// `[C_out]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Its adapter; a grouped convolution has none.
    pub lora: Option<Lora<4>>,
    /// Stride, padding and groups.
    #[module(skip)]
    pub geometry: ConvGeometry,
}

impl Conv2d {
    /// A square kernel with a bias.
    pub fn new(c_in: usize, c_out: usize, kernel: usize, geometry: ConvGeometry, init: &Init) -> Self {
        let bias = Some(init.uniform("bias", [c_out], bound(c_in, [kernel; 2], geometry)));
        Self { bias, ..Self::without_bias(c_in, c_out, [kernel; 2], geometry, init) }
    }

    /// A kernel of `[rows, columns]` without a bias.
    pub fn without_bias(
        c_in: usize,
        c_out: usize,
        kernel: [usize; 2],
        geometry: ConvGeometry,
        init: &Init,
    ) -> Self {
        let shape = [c_out, c_in / geometry.groups, kernel[0], kernel[1]];
        let weight = init.uniform("weight", shape, bound(c_in, kernel, geometry));
        let lora = if geometry.groups == 1 { Lora::<4>::of(shape, init) } else { None };
        Self { weight, bias: None, lora, geometry }
    }

    /// A 3x3 kernel that keeps the size.
    pub fn same3(c_in: usize, c_out: usize, init: &Init) -> Self {
        Self::new(c_in, c_out, 3, ConvGeometry::square(1, 1), init)
    }

    /// A 1x1 kernel.
    pub fn pointwise(c_in: usize, c_out: usize, init: &Init) -> Self {
        Self::new(c_in, c_out, 1, ConvGeometry::square(1, 0), init)
    }

    /// `[B, C_in, H, W]` to `[B, C_out, H', W']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (bias, geometry) = (self.bias.as_ref().map(Param::val), self.geometry);
        match &self.lora {
            None => add_kernels::conv2d(x, self.weight.val(), bias, geometry),
            Some(lora) => {
                add_kernels::conv2d(x.clone(), self.weight.val(), bias, geometry) + lora.forward(x, geometry)
            }
        }
    }

    /// A 1x1 convolution as a map of tokens, `[B, N, C_in]` to `[B, N, C_out]`.
    pub fn forward_tokens(&self, x: Tensor<3>) -> Tensor<3> {
        let bias = self.bias.as_ref().map(Param::val);
        match &self.lora {
            None => add_kernels::linear(x, matrix(self.weight.val()), bias),
            Some(lora) => {
                add_kernels::linear(x.clone(), matrix(self.weight.val()), bias) + lora.forward_tokens(x)
            }
        }
    }
}

/// The weights of a 1x1 convolution as a matrix.
pub(super) fn matrix(weight: Tensor<4>) -> Tensor<2> {
    let [c_out, c_in, _, _] = weight.dims();
    weight.reshape([c_out, c_in])
}

/// `1 / sqrt(fan_in)`.
fn bound(c_in: usize, kernel: [usize; 2], geometry: ConvGeometry) -> f64 {
    1.0 / ((c_in / geometry.groups * kernel[0] * kernel[1]) as f64).sqrt()
}
