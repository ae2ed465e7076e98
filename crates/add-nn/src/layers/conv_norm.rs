//! A convolution and a batch normalisation with fixed statistics, for networks that are only evaluated.
//!
//! Ioffe and Szegedy 2015. With stored statistics the normalisation is one affine map of each channel,
//! which [`ConvNorm::fold`] multiplies into the convolution:
//! `W' = W g / sqrt(var + eps)`, `b' = beta - mean g / sqrt(var + eps)`.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::{Conv2d, ConvGeometry, Init};

/// A convolution without a bias and its batch normalisation, if that is not folded into it.
#[derive(Module, Debug)]
pub struct ConvNorm {
    conv: Conv2d,
    norm: Option<FrozenBatchNorm>,
}

impl ConvNorm {
    /// With fresh values: mean 0, variance 1.
    pub fn new(
        c_in: usize,
        c_out: usize,
        kernel: [usize; 2],
        geometry: ConvGeometry,
        eps: f64,
        init: &Init,
    ) -> Self {
        Self {
            conv: Conv2d::without_bias(c_in, c_out, kernel, geometry, &init.at("conv")),
            norm: Some(FrozenBatchNorm::new(c_out, eps, &init.at("norm"))),
        }
    }

    /// `[B, C_in, H, W]` to `[B, C_out, H', W']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.conv.forward(x);
        let Some(norm) = &self.norm else { return y };
        let (scale, shift) = norm.affine();
        let c = scale.dims()[0];
        y * scale.reshape([1, c, 1, 1]) + shift.reshape([1, c, 1, 1])
    }

    /// The same function as one convolution with a bias.
    #[must_use]
    pub fn fold(self) -> Self {
        let Some(norm) = self.norm else { return self };
        let (scale, shift) = norm.affine();
        let c = scale.dims()[0];
        let Conv2d { weight, bias, geometry, lora } = self.conv;
        let shift = bias.map_or(shift.clone(), |bias| shift + bias.val() * scale.clone());
        let weight = weight.val() * scale.reshape([c, 1, 1, 1]);
        Self {
            conv: Conv2d { weight: constant(weight), bias: Some(constant(shift)), geometry, lora },
            norm: None,
        }
    }
}

fn constant<const D: usize>(value: Tensor<D>) -> Param<Tensor<D>> {
    Param::from_tensor(value.without_autodiff())
}

/// `(x - running_mean) / sqrt(running_var + eps) * weight + bias` with fixed statistics, each `[C]`.
#[derive(Module, Debug)]
struct FrozenBatchNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    running_mean: Param<Tensor<1>>,
    running_var: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl FrozenBatchNorm {
    fn new(channels: usize, eps: f64, init: &Init) -> Self {
        let constant = |name, value| init.constant(name, [channels], value);
        Self {
            weight: constant("weight", 1.0),
            bias: constant("bias", 0.0),
            running_mean: constant("running_mean", 0.0),
            running_var: constant("running_var", 1.0),
            eps,
        }
    }

    /// Scale and shift, each `[C]`.
    fn affine(&self) -> (Tensor<1>, Tensor<1>) {
        let scale = self.weight.val() / (self.running_var.val() + self.eps).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        (scale, shift)
    }
}
