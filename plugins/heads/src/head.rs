//! One head: blocks of convolution, normalisation and activation, then a projection onto the condition.
//!
//! `block(k) = LeakyReLU(BatchNormLocal(conv_k(x)), 0.2)`; the first block stands alone, each later one is residual,
//! `(block(x) + x) / sqrt(2)`. With a condition `c`, `logit_n = sum_p cls(h)_{p,n} cmapper(c)_p / sqrt(P)`, without one
//! `logit_n = cls(h)_n`. Sources: StyleGAN-T, `DiscHead`; Miyato and Koyama 2018 for the projection.

use std::f64::consts::FRAC_1_SQRT_2;

use add_plugin::{Draw, Purpose, Tangent};
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};

use crate::{batch_norm_local::BatchNormLocal, spectral_conv::SpectralConv};

/// Slope of the activation where it is negative.
const SLOPE: f64 = 0.2;

/// The network of one head; activations are `[G, C, S, N]`.
#[derive(Module, Debug)]
pub(crate) struct HeadNetwork {
    main: Vec<Block>,
    cls: SpectralConv,
    cmapper: Option<ConditionMap>,
}

/// The shape of one head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadShape<'a> {
    /// Channels of the feature that it reads.
    pub(crate) channels: usize,
    /// Kernel of each block, in tokens.
    pub(crate) kernels: &'a [usize],
    /// Width onto which the condition is projected.
    pub(crate) projection_width: usize,
    /// Width of the condition; 0 for none.
    pub(crate) condition_width: usize,
    /// Whether the convolutions' weights are divided by their spectral norm.
    pub(crate) spectral_norm: bool,
}

impl HeadNetwork {
    /// `draw.step` must leave room for the streams of this head's tensors.
    pub(crate) fn new(shape: HeadShape<'_>, draw: Draw, device: &Device) -> Self {
        let HeadShape { channels, kernels, projection_width, condition_width, spectral_norm } = shape;
        let stream = |part: usize| Draw { step: draw.step + 4 * part as u64, ..draw };
        let conv = |c_out: usize, kernel: usize, part: usize| {
            SpectralConv::new([channels, c_out, kernel], spectral_norm, stream(part), device)
        };
        let block = |(part, &kernel)| Block {
            conv: conv(channels, kernel, part),
            norm: BatchNormLocal::new(channels, device),
        };
        let blocks = kernels.len();
        let width = if condition_width == 0 { 1 } else { projection_width };
        Self {
            main: kernels.iter().enumerate().map(block).collect(),
            cls: conv(width, 1, blocks),
            cmapper: (condition_width > 0)
                .then(|| ConditionMap::new(condition_width, width, stream(blocks + 1), device)),
        }
    }

    pub(crate) fn power_iterate(&mut self) {
        self.main.iter_mut().for_each(|block| block.conv.power_iterate());
        self.cls.power_iterate();
    }

    /// `[G, C, S, N]` and `[G S, K]` to `[G S, N]`.
    pub(crate) fn logits(&self, x: Tensor<4>, condition: Option<&Tensor<2>>) -> Tensor<2> {
        let (first, residual) = self.blocks();
        let h = residual
            .iter()
            .fold(first.apply(x), |h, block| (block.apply(h.clone()) + h).mul_scalar(FRAC_1_SQRT_2));
        self.project(self.cls.kernel().apply(h), condition)
    }

    /// Logits and their derivative along `dx`; every part is linear but the normalisation and the activation's mask.
    pub(crate) fn tangent(&self, x: Tensor<4>, dx: Tensor<4>, condition: Option<&Tensor<2>>) -> Tangent {
        let (first, residual) = self.blocks();
        let step = |(h, dh): (Tensor<4>, Tensor<4>), block: &Block| {
            let (y, dy) = block.tangent(h.clone(), dh.clone());
            ((y + h).mul_scalar(FRAC_1_SQRT_2), (dy + dh).mul_scalar(FRAC_1_SQRT_2))
        };
        let (h, dh) = residual.iter().fold(first.tangent(x, dx), step);
        let cls = self.cls.kernel();
        Tangent {
            primal: self.project(cls.apply(h), condition),
            tangent: self.project(cls.tangent(dh), condition),
        }
    }

    fn blocks(&self) -> (&Block, &[Block]) {
        self.main.split_first().expect("a head has at least one block")
    }

    /// `[G, P, S, N]` to `[G S, N]`.
    fn project(&self, cls: Tensor<4>, condition: Option<&Tensor<2>>) -> Tensor<2> {
        let [groups, width, samples, tokens] = cls.dims();
        let logits = match (&self.cmapper, condition) {
            (Some(cmapper), Some(c)) => {
                let mapped = cmapper.apply(c.clone()).reshape([groups, samples, width, 1]).swap_dims(1, 2);
                // Not a division: Burn's gradient of one by a scalar is computed in f32.
                (cls * mapped).sum_dim(1).mul_scalar(1.0 / (width as f64).sqrt())
            }
            (None, _) => cls,
            (Some(_), None) => panic!("a conditional head was given no condition"),
        };
        logits.reshape([groups * samples, tokens])
    }
}

/// Convolution, normalisation, activation.
#[derive(Module, Debug)]
pub(crate) struct Block {
    conv: SpectralConv,
    norm: BatchNormLocal,
}

impl Block {
    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.norm.apply(self.conv.kernel().apply(x));
        let slope = leaky_slope(&y);
        y * slope
    }

    fn tangent(&self, x: Tensor<4>, dx: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let kernel = self.conv.kernel();
        let (y, dy) = self.norm.tangent(kernel.apply(x), kernel.tangent(dx));
        let slope = leaky_slope(&y);
        (y * slope.clone(), dy * slope)
    }
}

/// `LeakyReLU(y) = y * slope(y)` with a slope that is constant almost everywhere: values, gradients and tangents are each
/// one product.
fn leaky_slope(y: &Tensor<4>) -> Tensor<4> {
    let y = y.clone().without_autodiff();
    let negative = y.clone().lower_elem(0.0);
    y.ones_like().mask_fill(negative, SLOPE)
}

/// The linear map of the condition, `c W^T / sqrt(K) + b`: its weights have unit variance.
#[derive(Module, Debug)]
pub(crate) struct ConditionMap {
    /// `[P, K]`.
    weight: Param<Tensor<2>>,
    /// `[P]`.
    bias: Param<Tensor<1>>,
}

impl ConditionMap {
    fn new(condition_width: usize, width: usize, draw: Draw, device: &Device) -> Self {
        let values = draw.normal(Purpose::Init, width * condition_width);
        Self {
            weight: Param::from_data(TensorData::new(values, [width, condition_width]), device),
            bias: Param::from_tensor(Tensor::zeros([width], device)),
        }
    }

    fn apply(&self, c: Tensor<2>) -> Tensor<2> {
        let gain = 1.0 / (c.dims()[1] as f64).sqrt();
        c.matmul(self.weight.val().transpose().mul_scalar(gain)) + self.bias.val().unsqueeze()
    }
}
