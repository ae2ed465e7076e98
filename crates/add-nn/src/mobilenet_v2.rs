//! `MobileNetV2` as a frozen feature network: inverted residuals of 1x1 expansion, 3x3 depthwise and 1x1 projection.
//!
//! Sandler et al. 2018; weights and block numbers are those of torchvision's `mobilenet_v2().features`. The batch
//! normalisations use their stored statistics, so each is one affine map, which [`MobileNetV2::fold`] multiplies into
//! the convolution before it: `W' = W g / sqrt(var + eps)`, `b' = beta - mean g / sqrt(var + eps)`.

use add_kernels::ConvGeometry;
use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use crate::layers::{Conv2d, Init};

/// `PyTorch`'s default.
const BATCH_NORM_EPS: f64 = 1e-5;
/// Expansion, channels, repeats and first stride of each stage. Sandler et al. 2018, table 2.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];
const STEM: usize = 32;
const LAST: usize = 1280;

/// Mean of the pictures it was trained on, for values in `[0, 1]`, red, green, blue.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Deviation of the pictures it was trained on.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The convolutional part; `features.0` is the stem, 1 to 17 the blocks, 18 the last 1x1 convolution.
#[derive(Module, Debug)]
pub struct MobileNetV2 {
    stem: ConvNorm,
    blocks: Vec<InvertedResidual>,
    last: ConvNorm,
}

impl MobileNetV2 {
    /// A network with fresh values.
    pub fn new(init: &Init) -> Self {
        let mut blocks = Vec::new();
        let mut c_in = STEM;
        for (expansion, c_out, repeats, first_stride) in STAGES {
            for repeat in 0..repeats {
                let stride = if repeat == 0 { first_stride } else { 1 };
                let init = init.at("blocks").at(blocks.len());
                blocks.push(InvertedResidual::new(c_in, c_out, expansion, stride, &init));
                c_in = c_out;
            }
        }
        Self {
            stem: ConvNorm::new(3, STEM, 3, ConvGeometry::square(2, 1), &init.at("stem")),
            blocks,
            last: ConvNorm::new(c_in, LAST, 1, ConvGeometry::square(1, 0), &init.at("last")),
        }
    }

    /// Torchvision's name of one of this network's parameters.
    pub fn torchvision_name(name: &str) -> String {
        let (part, rest) = name.split_once('.').unwrap_or((name, ""));
        let sequence = |rest: &str| rest.replacen("conv.", "0.", 1).replacen("norm.", "1.", 1);
        match part {
            "stem" => format!("features.0.{}", sequence(rest)),
            "last" => format!("features.18.{}", sequence(rest)),
            _ => {
                let (i, rest) = rest.split_once('.').unwrap_or((rest, ""));
                let i = i.parse::<usize>().unwrap_or(0);
                let (layer, rest) = rest.split_once('.').unwrap_or((rest, ""));
                // The first block has no expansion, so its layers stand one place earlier.
                let first = usize::from(i > 0);
                let place = match layer {
                    "expand" => format!("0.{}", sequence(rest)),
                    "depthwise" => format!("{first}.{}", sequence(rest)),
                    _ => match rest.split_once('.') {
                        Some(("conv", rest)) => format!("{}.{rest}", first + 1),
                        Some((_, rest)) => format!("{}.{rest}", first + 2),
                        None => rest.to_owned(),
                    },
                };
                format!("features.{}.conv.{place}", i + 1)
            }
        }
    }

    /// The same function with every batch normalisation multiplied into its convolution.
    #[must_use]
    pub fn fold(self) -> Self {
        Self {
            stem: self.stem.fold(),
            blocks: self.blocks.into_iter().map(InvertedResidual::fold).collect(),
            last: self.last.fold(),
        }
    }

    /// `x: [B, 3, H, W]`, already normalised, to the outputs `[B, C, H', W']` of the `features` numbered in `hooks`,
    /// in the order of `hooks`; nothing beyond the last of them is computed.
    ///
    /// # Panics
    /// When a hook is above 18.
    pub fn forward_blocks(&self, x: Tensor<4>, hooks: &[usize]) -> Vec<Tensor<4>> {
        let Some(&deepest) = hooks.iter().max() else { return Vec::new() };
        assert!(deepest <= self.blocks.len() + 1, "hook {deepest} of {}", self.blocks.len() + 1);
        let mut found: Vec<Option<Tensor<4>>> = vec![None; hooks.len()];
        let mut x = x;
        for i in 0..=deepest {
            x = match i {
                0 => relu6(self.stem.forward(x)),
                _ if i <= self.blocks.len() => self.blocks[i - 1].forward(x),
                _ => relu6(self.last.forward(x)),
            };
            for (place, _) in found.iter_mut().zip(hooks).filter(|&(_, &hook)| hook == i) {
                *place = Some(x.clone());
            }
        }
        found.into_iter().flatten().collect()
    }
}

/// Expansion, depthwise convolution and projection, with a shortcut where the shape stays.
#[derive(Module, Debug)]
struct InvertedResidual {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    project: ConvNorm,
    #[module(skip)]
    shortcut: bool,
}

impl InvertedResidual {
    fn new(c_in: usize, c_out: usize, expansion: usize, stride: usize, init: &Init) -> Self {
        let inner = c_in * expansion;
        let pointwise = ConvGeometry::square(1, 0);
        let each = ConvGeometry { groups: inner, ..ConvGeometry::square(stride, 1) };
        Self {
            expand: (expansion > 1).then(|| ConvNorm::new(c_in, inner, 1, pointwise, &init.at("expand"))),
            depthwise: ConvNorm::new(inner, inner, 3, each, &init.at("depthwise")),
            project: ConvNorm::new(inner, c_out, 1, pointwise, &init.at("project")),
            shortcut: stride == 1 && c_in == c_out,
        }
    }

    fn fold(self) -> Self {
        Self {
            expand: self.expand.map(ConvNorm::fold),
            depthwise: self.depthwise.fold(),
            project: self.project.fold(),
            shortcut: self.shortcut,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = match &self.expand {
            Some(expand) => relu6(expand.forward(x.clone())),
            None => x.clone(),
        };
        let y = self.project.forward(relu6(self.depthwise.forward(h)));
        if self.shortcut { x + y } else { y }
    }
}

/// A convolution and its batch normalisation, if that is not folded into it.
#[derive(Module, Debug)]
struct ConvNorm {
    conv: Conv2d,
    norm: Option<FrozenBatchNorm>,
}

impl ConvNorm {
    fn new(c_in: usize, c_out: usize, kernel: usize, geometry: ConvGeometry, init: &Init) -> Self {
        Self {
            conv: Conv2d::without_bias(c_in, c_out, kernel, geometry, &init.at("conv")),
            norm: Some(FrozenBatchNorm::new(c_out, &init.at("norm"))),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.conv.forward(x);
        let Some(norm) = &self.norm else { return y };
        let (scale, shift) = norm.affine();
        let c = scale.dims()[0];
        y * scale.reshape([1, c, 1, 1]) + shift.reshape([1, c, 1, 1])
    }

    fn fold(self) -> Self {
        let Some(norm) = self.norm else { return self };
        let (scale, shift) = norm.affine();
        let c = scale.dims()[0];
        let Conv2d { weight, bias, geometry } = self.conv;
        let shift = bias.map_or(shift.clone(), |bias| shift + bias.val() * scale.clone());
        let weight = weight.val() * scale.reshape([c, 1, 1, 1]);
        let conv = Conv2d { weight: constant(weight), bias: Some(constant(shift)), geometry };
        Self { conv, norm: None }
    }
}

fn constant<const D: usize>(value: Tensor<D>) -> Param<Tensor<D>> {
    Param::from_tensor(value.without_autodiff())
}

/// `(x - running_mean) / sqrt(running_var + eps) * weight + bias` with fixed statistics, each `[C]`.
#[derive(Module, Debug)]
pub(crate) struct FrozenBatchNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    running_mean: Param<Tensor<1>>,
    running_var: Param<Tensor<1>>,
}

impl FrozenBatchNorm {
    fn new(channels: usize, init: &Init) -> Self {
        let constant = |name, value| init.constant(name, [channels], value);
        let (weight, bias) = (constant("weight", 1.0), constant("bias", 0.0));
        Self {
            weight,
            bias,
            running_mean: constant("running_mean", 0.0),
            running_var: constant("running_var", 1.0),
        }
    }

    /// Scale and shift, each `[C]`.
    fn affine(&self) -> (Tensor<1>, Tensor<1>) {
        let scale = self.weight.val() / (self.running_var.val() + BATCH_NORM_EPS).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        (scale, shift)
    }
}

fn relu6(x: Tensor<4>) -> Tensor<4> {
    x.clamp(0.0, 6.0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::state::{for_each_shape, set_parameters};

    #[test]
    fn parameters_carry_torchvision_names() {
        let mut names = Vec::new();
        let net = MobileNetV2::new(&Init::new(0, &Device::flex()));
        for_each_shape(&net, &mut |name, _, _| names.push(MobileNetV2::torchvision_name(name)));
        assert_eq!(names.len(), 52 * 5);
        for name in [
            "features.0.0.weight",
            "features.0.1.running_var",
            "features.1.conv.0.0.weight",
            "features.1.conv.1.weight",
            "features.1.conv.2.bias",
            "features.2.conv.0.0.weight",
            "features.2.conv.1.1.weight",
            "features.17.conv.2.weight",
            "features.17.conv.3.running_mean",
            "features.18.0.weight",
        ] {
            assert!(names.iter().any(|found| found == name), "{name}");
        }
    }

    #[test]
    fn folding_changes_no_output() {
        let device = Device::flex();
        let net = MobileNetV2::new(&Init::new(0, &device));
        let net = set_parameters(net, &mut |name, shape| {
            let value = if name.ends_with("running_var") { 0.3 } else { 0.7 };
            name.contains(".norm.").then(|| Tensor::full([shape[0]], value, &device))
        });
        let x = Init::new(1, &device).normal("x", [1, 3, 32, 32], 1.0).val();
        let apart = net.forward_blocks(x.clone(), &[0, 3, 18]);
        let folded = net.fold().forward_blocks(x, &[0, 3, 18]);
        for (a, b) in apart.into_iter().zip(folded) {
            let largest = a.clone().abs().max().into_scalar::<f32>();
            let difference = (a - b).abs().max().into_scalar::<f32>();
            assert!(largest > 0.1 && difference < 1e-4 * largest, "{difference} of {largest}");
        }
    }
}
