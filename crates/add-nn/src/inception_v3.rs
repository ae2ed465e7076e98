//! `InceptionV3` as the Fréchet inception distance uses it: the 2,048 features before the classifier.
//!
//! Szegedy et al. 2016, Heusel et al. 2017. The weights are those of the TensorFlow graph of 2015 in the layout of
//! pytorch-fid, whose three deviations from torchvision's network are kept: average pools that do not count their
//! padding, a maximum pool in the last block, and no transformation of the input here.

use add_kernels::relu;
use burn::{
    module::Module,
    tensor::{
        Tensor,
        module::{avg_pool2d, max_pool2d},
        ops::{AvgPoolOptions, MaxPoolOptions},
    },
};

use crate::layers::{ConvGeometry, ConvNorm, Init};

const BATCH_NORM_EPS: f64 = 1e-3;

/// The network without its classifier.
#[derive(Module, Debug)]
pub struct InceptionV3 {
    stem: Vec<ConvNorm>,
    mixed: Vec<Mixed>,
}

/// States on the way to the features.
#[derive(Debug, Clone)]
pub struct InceptionFeatures {
    /// After the first pool, `[B, 64, 73, 73]` for 299 pixels.
    pub block0: Tensor<4>,
    /// After the second pool, `[B, 192, 35, 35]`.
    pub block1: Tensor<4>,
    /// Before the last reduction, `[B, 768, 17, 17]`.
    pub block2: Tensor<4>,
    /// The features of the distance, `[B, 2048]`.
    pub pool3: Tensor<2>,
}

impl InceptionV3 {
    /// A network with fresh values.
    pub fn new(init: &Init) -> Self {
        let stem = |(i, conv): (usize, &Conv)| conv.build(&init.at("stem").at(i));
        let mixed = |(i, &(_, c_in, kind)): (usize, &(&str, usize, Kind))| {
            let at = |j: usize| init.at("mixed").at(i).at("convs").at(j);
            let convs = kind.convs(c_in).iter().enumerate().map(|(j, conv)| conv.build(&at(j))).collect();
            Mixed { convs, kind }
        };
        Self {
            stem: STEM.iter().enumerate().map(stem).collect(),
            mixed: MIXED.iter().enumerate().map(mixed).collect(),
        }
    }

    /// pytorch-fid's name of one of this network's parameters.
    pub fn pytorch_fid_name(name: &str) -> String {
        let parts = name.split('.').collect::<Vec<_>>();
        let number = |i: usize| parts.get(i).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
        let (place, rest) = if parts[0] == "stem" {
            (STEM[number(1)].name.to_owned(), &parts[2..])
        } else {
            let (block, c_in, kind) = MIXED[number(1)];
            (format!("{block}.{}", kind.convs(c_in)[number(3)].name), &parts[4..])
        };
        format!("{place}.{}", rest.join(".").replacen("norm.", "bn.", 1))
    }

    /// The same function with every batch normalisation multiplied into its convolution.
    #[must_use]
    pub fn fold(self) -> Self {
        let mixed = |Mixed { convs, kind }| Mixed { convs: folded(convs), kind };
        Self { stem: folded(self.stem), mixed: self.mixed.into_iter().map(mixed).collect() }
    }

    /// Pictures `[B, 3, H, W]` in [-1, 1], already at the size that the protocol asks for (299 pixels).
    pub fn forward(&self, x: Tensor<4>) -> InceptionFeatures {
        let run = |x, convs: &[ConvNorm]| convs.iter().fold(x, |x, conv| relu(conv.forward(x)));
        let block0 = halve(run(x, &self.stem[..3]));
        let block1 = halve(run(block0.clone(), &self.stem[3..]));
        let (middle, end) = self.mixed.split_at(LAST_REDUCTION);
        let block2 = middle.iter().fold(block1.clone(), |x, mixed| mixed.forward(x));
        let last = end.iter().fold(block2.clone(), |x, mixed| mixed.forward(x));
        let pool3 = last.mean_dim(3).mean_dim(2).squeeze_dims(&[2, 3]);
        InceptionFeatures { block0, block1, block2, pool3 }
    }
}

fn folded(convs: Vec<ConvNorm>) -> Vec<ConvNorm> {
    convs.into_iter().map(ConvNorm::fold).collect()
}

fn halve(x: Tensor<4>) -> Tensor<4> {
    max_pool2d(x, MaxPoolOptions::new([3, 3]).with_stride([2, 2]))
}

/// The mean of the neighbours that exist.
fn smooth(x: Tensor<4>) -> Tensor<4> {
    let options = AvgPoolOptions::new([3, 3]).with_stride([1, 1]).with_padding([1, 1]);
    avg_pool2d(x, options.with_count_include_pad(false))
}

/// Name in the checkpoint and shape of a convolution.
#[derive(Debug, Clone, Copy)]
struct Conv {
    name: &'static str,
    c_in: usize,
    c_out: usize,
    kernel: [usize; 2],
    stride: usize,
    padding: [usize; 2],
}

impl Conv {
    fn build(&self, init: &Init) -> ConvNorm {
        let geometry = ConvGeometry { stride: [self.stride; 2], padding: self.padding, groups: 1 };
        ConvNorm::new(self.c_in, self.c_out, self.kernel, geometry, BATCH_NORM_EPS, init)
    }
}

/// A convolution that keeps the size.
const fn same(name: &'static str, c_in: usize, c_out: usize, kernel: [usize; 2]) -> Conv {
    Conv { name, c_in, c_out, kernel, stride: 1, padding: [kernel[0] / 2, kernel[1] / 2] }
}

/// A 3x3 convolution without padding.
const fn valid(name: &'static str, c_in: usize, c_out: usize, stride: usize) -> Conv {
    Conv { name, c_in, c_out, kernel: [3, 3], stride, padding: [0, 0] }
}

const STEM: [Conv; 5] = [
    valid("Conv2d_1a_3x3", 3, 32, 2),
    valid("Conv2d_2a_3x3", 32, 32, 1),
    same("Conv2d_2b_3x3", 32, 64, [3, 3]),
    same("Conv2d_3b_1x1", 64, 80, [1, 1]),
    valid("Conv2d_4a_3x3", 80, 192, 1),
];

/// Name, input channels and kind of the blocks.
const MIXED: [(&str, usize, Kind); 11] = [
    ("Mixed_5b", 192, Kind::A { pool: 32 }),
    ("Mixed_5c", 256, Kind::A { pool: 64 }),
    ("Mixed_5d", 288, Kind::A { pool: 64 }),
    ("Mixed_6a", 288, Kind::B),
    ("Mixed_6b", 768, Kind::C { inner: 128 }),
    ("Mixed_6c", 768, Kind::C { inner: 160 }),
    ("Mixed_6d", 768, Kind::C { inner: 160 }),
    ("Mixed_6e", 768, Kind::C { inner: 192 }),
    ("Mixed_7a", 768, Kind::D),
    ("Mixed_7b", 1280, Kind::E { pool: Pool::Mean }),
    ("Mixed_7c", 2048, Kind::E { pool: Pool::Max }),
];
/// Position of `Mixed_7a`.
const LAST_REDUCTION: usize = 8;

/// The five block designs. Szegedy et al. 2016, figures 5, 6, 7 and 10.
#[derive(Debug, Clone, Copy)]
enum Kind {
    A { pool: usize },
    B,
    C { inner: usize },
    D,
    E { pool: Pool },
}

#[derive(Debug, Clone, Copy)]
enum Pool {
    Mean,
    Max,
}

impl Kind {
    /// The convolutions in the order in which [`Mixed::forward`] takes them.
    fn convs(self, c_in: usize) -> Vec<Conv> {
        match self {
            Self::A { pool } => vec![
                same("branch1x1", c_in, 64, [1, 1]),
                same("branch5x5_1", c_in, 48, [1, 1]),
                same("branch5x5_2", 48, 64, [5, 5]),
                same("branch3x3dbl_1", c_in, 64, [1, 1]),
                same("branch3x3dbl_2", 64, 96, [3, 3]),
                same("branch3x3dbl_3", 96, 96, [3, 3]),
                same("branch_pool", c_in, pool, [1, 1]),
            ],
            Self::B => vec![
                valid("branch3x3", c_in, 384, 2),
                same("branch3x3dbl_1", c_in, 64, [1, 1]),
                same("branch3x3dbl_2", 64, 96, [3, 3]),
                valid("branch3x3dbl_3", 96, 96, 2),
            ],
            Self::C { inner: c } => vec![
                same("branch1x1", c_in, 192, [1, 1]),
                same("branch7x7_1", c_in, c, [1, 1]),
                same("branch7x7_2", c, c, [1, 7]),
                same("branch7x7_3", c, 192, [7, 1]),
                same("branch7x7dbl_1", c_in, c, [1, 1]),
                same("branch7x7dbl_2", c, c, [7, 1]),
                same("branch7x7dbl_3", c, c, [1, 7]),
                same("branch7x7dbl_4", c, c, [7, 1]),
                same("branch7x7dbl_5", c, 192, [1, 7]),
                same("branch_pool", c_in, 192, [1, 1]),
            ],
            Self::D => vec![
                same("branch3x3_1", c_in, 192, [1, 1]),
                valid("branch3x3_2", 192, 320, 2),
                same("branch7x7x3_1", c_in, 192, [1, 1]),
                same("branch7x7x3_2", 192, 192, [1, 7]),
                same("branch7x7x3_3", 192, 192, [7, 1]),
                valid("branch7x7x3_4", 192, 192, 2),
            ],
            Self::E { .. } => vec![
                same("branch1x1", c_in, 320, [1, 1]),
                same("branch3x3_1", c_in, 384, [1, 1]),
                same("branch3x3_2a", 384, 384, [1, 3]),
                same("branch3x3_2b", 384, 384, [3, 1]),
                same("branch3x3dbl_1", c_in, 448, [1, 1]),
                same("branch3x3dbl_2", 448, 384, [3, 3]),
                same("branch3x3dbl_3a", 384, 384, [1, 3]),
                same("branch3x3dbl_3b", 384, 384, [3, 1]),
                same("branch_pool", c_in, 192, [1, 1]),
            ],
        }
    }
}

/// Branches side by side, joined along the channels.
#[derive(Module, Debug)]
struct Mixed {
    convs: Vec<ConvNorm>,
    #[module(skip)]
    kind: Kind,
}

impl Mixed {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let run = |x: &Tensor<4>, convs: std::ops::Range<usize>| {
            self.convs[convs].iter().fold(x.clone(), |x, conv| relu(conv.forward(x)))
        };
        let branches = match self.kind {
            Kind::A { .. } => vec![run(&x, 0..1), run(&x, 1..3), run(&x, 3..6), run(&smooth(x), 6..7)],
            Kind::B => vec![run(&x, 0..1), run(&x, 1..4), halve(x)],
            Kind::C { .. } => vec![run(&x, 0..1), run(&x, 1..4), run(&x, 4..9), run(&smooth(x), 9..10)],
            Kind::D => vec![run(&x, 0..2), run(&x, 2..6), halve(x)],
            Kind::E { pool } => {
                let (single, double) = (run(&x, 1..2), run(&x, 4..6));
                let pooled = match pool {
                    Pool::Mean => smooth(x.clone()),
                    Pool::Max => {
                        let options = MaxPoolOptions::new([3, 3]).with_stride([1, 1]).with_padding([1, 1]);
                        max_pool2d(x.clone(), options)
                    }
                };
                vec![
                    run(&x, 0..1),
                    run(&single, 2..3),
                    run(&single, 3..4),
                    run(&double, 6..7),
                    run(&double, 7..8),
                    run(&pooled, 8..9),
                ]
            }
        };
        Tensor::cat(branches, 1)
    }
}

#[cfg(test)]
mod tests {
    use add_parameters::Network;
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn parameters_carry_pytorch_fid_names_and_the_known_size() {
        let (mut names, mut count) = (Vec::new(), 0);
        let net = InceptionV3::new(&Init::new(0, &Device::flex()));
        net.for_each_shape(&mut |name, shape| {
            let name = InceptionV3::pytorch_fid_name(name);
            if !name.contains("running") {
                count += shape.iter().product::<usize>();
            }
            names.push(name);
        });
        for name in [
            "Conv2d_1a_3x3.conv.weight",
            "Mixed_5b.branch5x5_2.bn.running_var",
            "Mixed_7c.branch_pool.bn.bias",
        ] {
            assert!(names.iter().any(|found| found == name), "{name}");
        }
        // torchvision's inception_v3 without its classifier and its auxiliary head.
        assert_eq!(count, 21_785_568);
    }
}
