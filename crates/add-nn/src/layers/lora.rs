//! Low-rank adapters: `W x + (alpha / rank) B A x`, where `W` stays as it is. Hu et al. 2021.
//!
//! `A` (`lora.down`) starts at random and `B` (`lora.up`) at zero, so an adapted layer begins as its base.

use std::sync::Arc;

use add_kernels::ConvGeometry;
use add_parameters::LoraConfig;
use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::{Init, conv2d::matrix};

/// The adapter of a layer with weights of rank `D`.
#[derive(Module, Debug)]
pub struct Lora<const D: usize> {
    /// `A`: `[rank, C_in]`, or `[rank, C_in, k_h, k_w]`.
    pub down: Param<Tensor<D>>,
    /// `B`: `[C_out, rank]`, or `[C_out, rank, 1, 1]`.
    pub up: Param<Tensor<D>>,
    #[module(skip)]
    scale: f64,
}

impl<const D: usize> Lora<D> {
    /// For the layer at `init` with a weight of `shape`; `None` where it is to have no adapter.
    pub(super) fn of(shape: [usize; D], init: &Init) -> Option<Self> {
        let (init, config) = init.adapter()?;
        let (mut down, mut up) = (shape, [1; D]);
        down[0] = config.rank;
        (up[0], up[1]) = (shape[0], config.rank);
        let bound = 1.0 / (shape[1..].iter().product::<usize>() as f64).sqrt();
        Some(Self {
            down: init.uniform("down", down, bound),
            up: init.constant("up", up, 0.0),
            scale: config.scale(),
        })
    }
}

impl Lora<2> {
    /// What the adapter adds to `x W^T`, for `x: [B, N, C_in]`.
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let inner = add_kernels::linear(x, self.down.val(), None);
        add_kernels::linear(inner, self.up.val(), None) * self.scale
    }
}

impl Lora<4> {
    /// What the adapter adds to a convolution of `x: [B, C_in, H, W]`.
    pub(super) fn forward(&self, x: Tensor<4>, geometry: ConvGeometry) -> Tensor<4> {
        let inner = add_kernels::conv2d(x, self.down.val(), None, geometry);
        add_kernels::conv2d(inner, self.up.val(), None, ConvGeometry::square(1, 0)) * self.scale
    }

    /// The same for a 1x1 convolution as a map of tokens `[B, N, C_in]`.
    pub(super) fn forward_tokens(&self, x: Tensor<3>) -> Tensor<3> {
        let inner = add_kernels::linear(x, matrix(self.down.val()), None);
        add_kernels::linear(inner, matrix(self.up.val()), None) * self.scale
    }
}

/// Settings that every place of a network shares.
pub(super) type Shared = Option<Arc<LoraConfig>>;

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::layers::{Conv2d, Linear};

    fn init(device: &Device, targets: &[&str]) -> Init {
        let targets = targets.iter().map(|&target| target.to_owned()).collect();
        Init::new(3, device).with_lora(LoraConfig { rank: 2, alpha: 4.0, targets })
    }

    fn waves<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7).sin()).collect();
        Tensor::<1>::from_floats(&*values, device).reshape(shape)
    }

    fn largest<const D: usize>(difference: Tensor<D>) -> f32 {
        difference.abs().max().into_scalar()
    }

    #[test]
    fn an_adapted_layer_begins_as_its_base() {
        let device = Device::flex();
        let (base, adapted) = (Init::new(3, &device).at("to_q"), init(&device, &[]).at("to_q"));
        let x = waves([2, 5, 8], &device);
        let linear = |init: &Init| Linear::new(8, 6, init).forward(x.clone());
        assert!(largest(linear(&base) - linear(&adapted)) == 0.0);
        let x = waves([2, 8, 5, 5], &device);
        let conv = |init: &Init| Conv2d::same3(8, 6, init).forward(x.clone());
        assert!(largest(conv(&base) - conv(&adapted)) == 0.0);
    }

    #[test]
    fn the_adapter_adds_the_scaled_product_of_its_factors() {
        let device = Device::flex();
        let mut layer = Linear::new(8, 6, &init(&device, &[]));
        let lora = layer.lora.as_mut().expect("every layer has one");
        lora.up = Param::from_tensor(waves([6, 2], &device));
        let product = lora.up.val().matmul(lora.down.val()) * 2.0;
        let x = waves([2, 5, 8], &device);
        let merged =
            Linear { weight: Param::from_tensor(layer.weight.val() + product), lora: None, ..layer.clone() };
        assert!(largest(layer.forward(x.clone()) - merged.forward(x)) < 1e-5);

        let mut layer = Conv2d::new(8, 6, 3, ConvGeometry::square(2, 1), &init(&device, &[]));
        let lora = layer.lora.as_mut().expect("every layer has one");
        lora.up = Param::from_tensor(waves([6, 2, 1, 1], &device));
        let product = lora.up.val().reshape([6, 2]).matmul(lora.down.val().reshape([2, 72])) * 2.0;
        let x = waves([2, 8, 5, 5], &device);
        let weight = layer.weight.val() + product.reshape([6, 8, 3, 3]);
        let merged = Conv2d { weight: Param::from_tensor(weight), lora: None, ..layer.clone() };
        assert!(largest(layer.forward(x.clone()) - merged.forward(x)) < 1e-5);
    }

    #[test]
    fn only_the_adapter_gets_a_gradient() {
        let device = Device::flex().autodiff();
        let layer = Linear::new(8, 6, &init(&device, &[]));
        let x = waves([2, 5, 8], &Device::flex()).autodiff();
        let gradients = layer.forward(x).square().sum().backward();
        assert!(layer.weight.val().grad(&gradients).is_none());
        assert!(layer.bias.as_ref().expect("it has one").val().grad(&gradients).is_none());
        let lora = layer.lora.as_ref().expect("every layer has one");
        assert!(lora.up.val().grad(&gradients).is_some_and(|gradient| largest(gradient) > 0.0));
    }

    #[test]
    fn a_layer_that_is_no_target_has_no_adapter() {
        let device = Device::flex();
        let lora = |place: &str| Linear::new(4, 4, &init(&device, &["to_q"]).at(place)).lora;
        assert!(lora("to_q").is_some() && lora("to_v").is_none());
    }
}
