//! `MobileNetV2` as a frozen feature network: inverted residuals of 1x1 expansion, 3x3 depthwise and 1x1 projection.
//!
//! Sandler et al. 2018; weights and block numbers are those of torchvision's `mobilenet_v2().features`. The batch
//! normalisations use their stored statistics, so each is one affine map, which [`MobileNetV2::fold`] multiplies into
//! the convolution before it: `W' = W g / sqrt(var + eps)`, `b' = beta - mean g / sqrt(var + eps)`.

use add_kernels::{ConvGeometry, relu6};
use burn::{module::Module, tensor::Tensor};

use crate::layers::{ConvNorm, Init};

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
            stem: conv_norm(3, STEM, 3, ConvGeometry::square(2, 1), &init.at("stem")),
            blocks,
            last: conv_norm(c_in, LAST, 1, ConvGeometry::square(1, 0), &init.at("last")),
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
            expand: (expansion > 1).then(|| conv_norm(c_in, inner, 1, pointwise, &init.at("expand"))),
            depthwise: conv_norm(inner, inner, 3, each, &init.at("depthwise")),
            project: conv_norm(inner, c_out, 1, pointwise, &init.at("project")),
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

fn conv_norm(c_in: usize, c_out: usize, kernel: usize, geometry: ConvGeometry, init: &Init) -> ConvNorm {
    ConvNorm::new(c_in, c_out, [kernel; 2], geometry, BATCH_NORM_EPS, init)
}

#[cfg(test)]
mod tests {
    use add_parameters::Network;
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn parameters_carry_torchvision_names() {
        let mut names = Vec::new();
        let net = MobileNetV2::new(&Init::new(0, &Device::flex()));
        net.for_each_shape(&mut |name, _| names.push(MobileNetV2::torchvision_name(name)));
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
        let mut net = MobileNetV2::new(&Init::new(0, &device));
        net.set_parameters(&mut |name, shape, _| {
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
