//! The residual block and the size changes between levels, shared by the U-Net and the autoencoder.
//!
//! `h = conv1(silu(norm1(x))) + proj(silu(emb))`, `y = shortcut(x) + conv2(silu(norm2(h)))`. He et al. 2016,
//! Ho et al. 2020; names as in diffusers' `ResnetBlock2D`.

use add_kernels::{add, resize_nearest, silu};
use burn::{module::Module, tensor::Tensor};

use crate::layers::{Conv2d, ConvGeometry, GroupNorm, Init, Linear};

/// Groups and epsilon of the normalisations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NormOptions {
    pub(crate) groups: usize,
    pub(crate) eps: f64,
}

/// Two convolutions beside a shortcut.
#[derive(Module, Debug)]
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    /// Without a timestep.
    pub(crate) fn new(c_in: usize, c_out: usize, norm: NormOptions, init: &Init) -> Self {
        Self {
            norm1: GroupNorm::new(norm.groups, c_in, norm.eps, &init.at("norm1")),
            conv1: Conv2d::same3(c_in, c_out, &init.at("conv1")),
            time_emb_proj: None,
            norm2: GroupNorm::new(norm.groups, c_out, norm.eps, &init.at("norm2")),
            conv2: Conv2d::same3(c_out, c_out, &init.at("conv2")),
            conv_shortcut: (c_in != c_out).then(|| Conv2d::pointwise(c_in, c_out, &init.at("conv_shortcut"))),
        }
    }

    /// With a timestep embedding of `width`.
    pub(crate) fn with_time(c_in: usize, c_out: usize, width: usize, norm: NormOptions, init: &Init) -> Self {
        let time_emb_proj = Some(Linear::new(width, c_out, &init.at("time_emb_proj")));
        Self { time_emb_proj, ..Self::new(c_in, c_out, norm, init) }
    }

    /// `[B, C_in, H, W]` to `[B, C_out, H, W]`.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.conv1.forward(self.norm1.forward_silu(x.clone()));
        self.second_half(x, h)
    }

    /// `x: [B, C_in, H, W]`, `emb: [B, width]` to `[B, C_out, H, W]`; the block was made with a timestep.
    pub(crate) fn forward_in_time(&self, x: Tensor<4>, emb: Tensor<2>) -> Tensor<4> {
        let proj = self.time_emb_proj.as_ref().expect("the block was made with a timestep");
        let h = self.conv1.forward(self.norm1.forward_silu(x.clone()));
        let shift = proj.forward_rows(silu(emb));
        self.second_half(x, add(h, shift.unsqueeze_dims::<4>(&[2, 3])))
    }

    fn second_half(&self, x: Tensor<4>, h: Tensor<4>) -> Tensor<4> {
        let h = self.conv2.forward(self.norm2.forward_silu(h));
        match &self.conv_shortcut {
            Some(shortcut) => add(shortcut.forward(x), h),
            None => add(x, h),
        }
    }
}

/// A strided convolution that halves the size.
#[derive(Module, Debug)]
pub(crate) struct Downsample {
    conv: Conv2d,
    #[module(skip)]
    padding: usize,
}

impl Downsample {
    /// `padding` 1 pads all sides; 0 pads only the right and the bottom (the autoencoder's).
    pub(crate) fn new(channels: usize, padding: usize, init: &Init) -> Self {
        let geometry = ConvGeometry::square(2, padding);
        Self { conv: Conv2d::new(channels, channels, 3, geometry, &init.at("conv")), padding }
    }

    /// `[B, C, H, W]` to `[B, C, H / 2, W / 2]`, rounded up with padding 1 and down with padding 0.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = if self.padding == 0 { x.pad((0, 1, 0, 1), 0.0) } else { x };
        self.conv.forward(x)
    }
}

/// Nearest-neighbour enlargement and a convolution.
#[derive(Module, Debug)]
pub(crate) struct Upsample {
    conv: Conv2d,
}

impl Upsample {
    /// Keeps the channels.
    pub(crate) fn new(channels: usize, init: &Init) -> Self {
        Self { conv: Conv2d::same3(channels, channels, &init.at("conv")) }
    }

    /// `[B, C, H, W]` to `[B, C, size]`.
    pub(crate) fn forward(&self, x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
        self.conv.forward(resize_nearest(x, size))
    }

    /// `[B, C, H, W]` to `[B, C, 2 H, 2 W]`.
    pub(crate) fn double(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, h, w] = x.dims();
        self.forward(x, [2 * h, 2 * w])
    }
}
