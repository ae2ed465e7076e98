//! A one-dimensional convolution with circular padding whose weight is divided by its largest singular value.
//!
//! `W / sigma`, `sigma = u . (W v)` with `W: [C_out, C_in k]`; a power iteration is `v = W^T u / |W^T u|`, then
//! `u = W v / |W v|`. `u` and `v` are constants of the tape, `sigma` is differentiated. Source: Miyato et al. 2018,
//! as StyleGAN-T uses it.
//!
//! Activations are `[G, C, S, N]`: group of the batch, channel, sample in the group, token. Per channel the statistics
//! of a group are then contiguous, and a convolution over tokens is one over pictures of `S` rows.

use add_kernels::{ConvGeometry, conv2d};
use add_plugin::{Draw, Purpose};
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use rand::{RngExt, distr::Uniform};

/// Divides by norms no smaller than this.
const EPSILON: f64 = 1e-12;

/// Power iterations on a fresh weight, so that the first `sigma` of a training run is not far too small.
const WARM_UP: usize = 15;

/// A circular convolution over tokens with a spectrally normalised weight.
#[derive(Module, Debug)]
pub(crate) struct SpectralConv {
    /// The weight before normalisation, `[C_out, C_in, k]`.
    weight_orig: Param<Tensor<3>>,
    /// `[C_out]`.
    bias: Param<Tensor<1>>,
    /// Left singular vector `u: [C_out]`, a constant; absent where the weight is used as it is.
    weight_u: Option<Param<Tensor<1>>>,
    /// Right singular vector `v: [C_in k]`, a constant.
    weight_v: Option<Param<Tensor<1>>>,
}

/// The weight that one forward pass uses, made once and applied to values and tangents.
pub(crate) struct Kernel {
    /// `[C_out, C_in, 1, k]`.
    weight: Tensor<4>,
    bias: Tensor<1>,
}

impl SpectralConv {
    /// PyTorch's default initialisation: uniform within `1 / sqrt(C_in k)`, weight and bias.
    pub(crate) fn new(
        [c_in, c_out, k]: [usize; 3],
        spectral_norm: bool,
        draw: Draw,
        device: &Device,
    ) -> Self {
        let bound = 1.0 / ((c_in * k) as f32).sqrt();
        let within = Uniform::new_inclusive(-bound, bound).expect("a finite bound");
        let mut rng = draw.rng(Purpose::Init);
        let mut values = |n: usize| (0..n).map(|_| rng.sample(within)).collect::<Vec<f32>>();
        let weight = Tensor::from_data(TensorData::new(values(c_out * c_in * k), [c_out, c_in, k]), device);
        let bias = Tensor::from_data(TensorData::new(values(c_out), [c_out]), device);
        let vector = |stream: u64, n: usize| {
            let values = Draw { step: draw.step + stream, ..draw }.normal(Purpose::Init, n);
            let vector = Tensor::<1>::from_data(TensorData::new(values, [n]), device);
            spectral_norm.then(|| Param::from_tensor(unit(vector)).set_require_grad(false))
        };
        let mut conv = Self {
            weight_orig: Param::from_tensor(weight),
            bias: Param::from_tensor(bias),
            weight_u: vector(1, c_out),
            weight_v: vector(2, c_in * k),
        };
        for _ in 0..WARM_UP {
            conv.power_iterate();
        }
        conv
    }

    /// One power iteration; nothing without spectral normalisation.
    pub(crate) fn power_iterate(&mut self) {
        let (Some(u), Some(v)) = (self.weight_u.take(), self.weight_v.take()) else { return };
        let weight = self.weight_orig.val().without_autodiff().flatten::<2>(1, 2);
        let [c_out, width] = weight.dims();
        let u_old = u.val().without_autodiff().reshape([1, c_out]);
        let v_new = unit(u_old.matmul(weight.clone()).reshape([width]));
        let u_new = unit(weight.matmul(v_new.clone().reshape([width, 1])).reshape([c_out]));
        self.weight_u = Some(replace(u, u_new));
        self.weight_v = Some(replace(v, v_new));
    }

    /// The normalised weight.
    pub(crate) fn kernel(&self) -> Kernel {
        let weight = self.weight_orig.val();
        let [c_out, c_in, k] = weight.dims();
        let weight = match (&self.weight_u, &self.weight_v) {
            (Some(u), Some(v)) => {
                let rows = weight.clone().reshape([c_out, c_in * k]).matmul(v.val().reshape([c_in * k, 1]));
                let sigma = (rows.reshape([c_out]) * u.val()).sum();
                weight / sigma.reshape([1, 1, 1])
            }
            _ => weight,
        };
        Kernel { weight: weight.reshape([c_out, c_in, 1, k]), bias: self.bias.val() }
    }
}

impl Kernel {
    /// `[G, C_in, S, N]` to `[G, C_out, S, N]`.
    pub(crate) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        self.convolve(x, Some(self.bias.clone()))
    }

    /// The derivative of [`apply`](Self::apply) along `dx`: the convolution without its bias.
    pub(crate) fn tangent(&self, dx: Tensor<4>) -> Tensor<4> {
        self.convolve(dx, None)
    }

    fn convolve(&self, x: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
        let k = self.weight.dims()[3];
        conv2d(wrap(x, k / 2), self.weight.clone(), bias, ConvGeometry::square(1, 0))
    }
}

/// Circular padding by `pad` tokens on both sides; a sequence shorter than that goes round more than once.
fn wrap(x: Tensor<4>, pad: usize) -> Tensor<4> {
    if pad == 0 {
        return x;
    }
    let n = x.dims()[3];
    let rounds = x.clone().repeat_dim(3, pad.div_ceil(n));
    let length = rounds.dims()[3];
    let (before, after) = (rounds.clone().narrow(3, length - pad, pad), rounds.narrow(3, 0, pad));
    Tensor::cat(vec![before, x, after], 3)
}

fn unit(vector: Tensor<1>) -> Tensor<1> {
    let norm = vector.clone().square().sum().sqrt().clamp_min(EPSILON);
    vector / norm
}

/// A buffer's new value, on the device kind that the buffer is on.
fn replace(buffer: Param<Tensor<1>>, value: Tensor<1>) -> Param<Tensor<1>> {
    buffer.map(|old| if old.is_autodiff() { value.autodiff() } else { value })
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;

    use super::*;

    const DRAW: Draw = Draw { seed: 1, step: 0, index: 0 };

    fn row(values: &[f64]) -> Tensor<4> {
        Tensor::from_data(
            TensorData::new(values.to_vec(), [1, 1, 1, values.len()]),
            (&Device::flex(), DType::F64),
        )
    }

    #[test]
    fn padding_goes_round() {
        let padded = wrap(row(&[1.0, 2.0, 3.0]), 2);
        assert_eq!(padded.into_data().try_to_vec::<f64>().unwrap(), [2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0]);
    }

    #[test]
    fn a_short_sequence_goes_round_more_than_once() {
        let padded = wrap(row(&[1.0, 2.0]), 4);
        assert_eq!(padded.into_data().try_to_vec::<f64>().unwrap(), [1.0, 2.0].repeat(5));
    }

    #[test]
    fn the_normalised_weight_has_unit_largest_singular_value() {
        let mut conv = SpectralConv::new([4, 6, 3], true, DRAW, &Device::flex());
        (0..100).for_each(|_| conv.power_iterate());
        let weight = conv.kernel().weight.reshape([6, 12]);
        // |W x| <= |x|, and a power method on W^T W finds where it is reached.
        let mut x = Tensor::<2>::ones([12, 1], &Device::flex());
        for _ in 0..200 {
            x = weight.clone().transpose().matmul(weight.clone().matmul(x));
            x = x.clone() / x.square().sum().sqrt().reshape([1, 1]);
        }
        let gain: f32 = weight.matmul(x).square().sum().sqrt().into_scalar();
        assert!((gain - 1.0).abs() < 1e-4, "{gain}");
    }

    #[test]
    fn a_weight_may_be_left_as_it_is() {
        let conv = SpectralConv::new([2, 2, 1], false, DRAW, &Device::flex());
        let used = conv.kernel().weight.into_data();
        assert_eq!(
            used.try_to_vec::<f32>().unwrap(),
            conv.weight_orig.val().into_data().try_to_vec::<f32>().unwrap()
        );
    }

    #[test]
    fn the_vectors_are_not_trained() {
        let mut conv = SpectralConv::new([2, 3, 1], true, DRAW, &Device::flex().autodiff());
        conv.power_iterate();
        let gradients = conv.kernel().weight.sum().backward();
        assert!(conv.weight_orig.val().grad(&gradients).is_some());
        assert!(conv.weight_u.as_ref().unwrap().val().grad(&gradients).is_none());
    }
}
