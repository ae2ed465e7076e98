//! Batch normalisation without running statistics, over small fixed groups of the batch.
//!
//! `y = (x - mu) / sqrt(var + eps) * weight + bias`; `mu` and the biased `var` are taken per channel over the samples of
//! a group and their tokens. Training and inference are the same function. Source: StyleGAN-T, `BatchNormLocal`.

use add_kernels::group_norm;
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

const EPSILON: f64 = 1e-5;

/// Normalises `[G, C, S, N]` over `S` and `N`.
#[derive(Module, Debug)]
pub(crate) struct BatchNormLocal {
    /// `[C]`.
    weight: Param<Tensor<1>>,
    /// `[C]`.
    bias: Param<Tensor<1>>,
}

impl BatchNormLocal {
    /// Scale 1, shift 0.
    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([channels], device)),
            bias: Param::from_tensor(Tensor::zeros([channels], device)),
        }
    }

    /// The normalised activations, same shape.
    pub(crate) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        // Normalising each channel alone is a group normalisation with as many groups as channels.
        let channels = x.dims()[1];
        group_norm(x, channels, self.weight.val(), self.bias.val(), EPSILON)
    }

    /// [`apply`](Self::apply) and its derivative along `dx`:
    /// `dy = weight / std * (dx - mean(dx) - n mean(n dx))`, `n` the normalised value.
    pub(crate) fn tangent(&self, x: Tensor<4>, dx: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let centred = x.clone() - mean(x);
        let inverse_variance = mean(centred.clone() * centred.clone()).add_scalar(EPSILON).recip();
        let scale = per_channel(self.weight.val()) * inverse_variance.clone().sqrt();
        let y = centred.clone() * scale.clone() + per_channel(self.bias.val());
        // The same derivative, with everything that is one number per group and channel gathered first.
        let slope = mean(centred.clone() * dx.clone()) * inverse_variance;
        let dy = (dx.clone() - centred * slope - mean(dx)) * scale;
        (y, dy)
    }
}

/// Mean over samples and tokens, `[G, C, 1, 1]`.
fn mean(x: Tensor<4>) -> Tensor<4> {
    let [groups, channels, samples, tokens] = x.dims();
    x.reshape([groups, channels, samples * tokens]).mean_dim(2).reshape([groups, channels, 1, 1])
}

fn per_channel(values: Tensor<1>) -> Tensor<4> {
    let channels = values.dims()[0];
    values.reshape([1, channels, 1, 1])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, TensorData};
    use proptest::prelude::*;

    use super::*;

    fn norm() -> BatchNormLocal {
        let f64s = |value: f64| Param::from_tensor(Tensor::full([2], value, (&Device::flex(), DType::F64)));
        BatchNormLocal { weight: f64s(1.5), bias: f64s(-0.25) }
    }

    /// One group, two channels, two samples of two tokens.
    fn activations(values: &[f64]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), [1, 2, 2, 2]), (&Device::flex(), DType::F64))
    }

    fn values(x: Tensor<4>) -> Vec<f64> {
        x.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn by_hand() {
        // Channel 0 has mean 2 and variance 2; channel 1 is constant.
        let y = values(norm().apply(activations(&[0.0, 2.0, 2.0, 4.0, 7.0, 7.0, 7.0, 7.0])));
        let step = 1.5 * 2.0 / 2.00001_f64.sqrt();
        let want = [-0.25 - step, -0.25, -0.25, -0.25 + step, -0.25, -0.25, -0.25, -0.25];
        for (got, want) in y.iter().zip(want) {
            assert!((got - want).abs() < 1e-12, "{y:?}");
        }
    }

    proptest! {
        #[test]
        fn the_tangent_is_the_central_difference(
            x in prop::collection::vec(-2.0..2.0_f64, 8), dx in prop::collection::vec(-1.0..1.0_f64, 8),
        ) {
            let norm = norm();
            let (y, dy) = norm.tangent(activations(&x), activations(&dx));
            for (y, alone) in values(y).iter().zip(values(norm.apply(activations(&x)))) {
                prop_assert!((y - alone).abs() < 1e-12);
            }
            let at = |h: f64| -> Vec<f64> {
                let moved: Vec<f64> = x.iter().zip(&dx).map(|(x, dx)| x + h * dx).collect();
                values(norm.apply(activations(&moved)))
            };
            let h = 1e-5;
            for ((ahead, behind), dy) in at(h).iter().zip(at(-h)).zip(values(dy)) {
                let difference = (ahead - behind) / (2.0 * h);
                prop_assert!((difference - dy).abs() < 1e-4 * (1.0 + dy.abs()), "{difference} {dy}");
            }
        }
    }
}
