//! Initial values of parameters, from a seed and the parameter's name alone.
//!
//! Element `i` of the parameter `name` comes from the `SplitMix64` stream that starts at
//! `fnv1a64(name) + seed * 0x9E3779B97F4A7C15`, so a parameter's values depend neither on the order of
//! construction nor on a shared generator, and no two parameters share a stream.
//! Distributions are those of `PyTorch`'s layers: `U(-1/sqrt(fan_in), 1/sqrt(fan_in))` for linear and convolution.

use std::{fmt::Display, sync::Arc};

use add_parameters::LoraConfig;
use add_random::{GOLDEN, normal, output};
use burn::{
    module::{Param, ParamId},
    tensor::{Device, Tensor, TensorData},
};

use super::lora::Shared;

/// The place of a module in its network, the seed of the network's values and the device they live on.
#[derive(Debug, Clone)]
pub struct Init {
    seed: u64,
    path: String,
    device: Device,
    lora: Shared,
    /// Whether the parameters are leaves of their own.
    trainable: bool,
}

impl Init {
    /// The root of a network. On an autodiff device the parameters become trainable leaves.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self { seed, path: String::new(), device: device.clone(), lora: None, trainable: true }
    }

    /// The place of the child `name`.
    #[must_use]
    pub fn at(&self, name: impl Display) -> Self {
        Self { path: self.join(name), ..self.clone() }
    }

    /// With adapters on linear and convolution layers; every other parameter stays as it is.
    #[must_use]
    pub fn with_lora(self, config: LoraConfig) -> Self {
        Self { lora: Some(Arc::new(config)), trainable: false, ..self }
    }

    /// The place of this layer's adapter; `None` where it is to have none.
    pub(super) fn adapter(&self) -> Option<(Self, &LoraConfig)> {
        let config = self.lora.as_deref().filter(|config| config.wants(&self.path))?;
        Some((Self { trainable: true, ..self.at("lora") }, config))
    }

    /// A parameter uniform in `[-bound, bound)`.
    pub fn uniform<const D: usize>(&self, name: &str, shape: [usize; D], bound: f64) -> Param<Tensor<D>> {
        self.filled(name, shape, move |stream, n| (0..n).map(|i| (bound * unit(stream, i)) as f32).collect())
    }

    /// A parameter from `N(0, std^2)`.
    pub fn normal<const D: usize>(&self, name: &str, shape: [usize; D], std: f64) -> Param<Tensor<D>> {
        self.filled(name, shape, move |stream, n| (0..n).map(|i| (std * gauss(stream, i)) as f32).collect())
    }

    /// A parameter that starts as `value` everywhere.
    pub fn constant<const D: usize>(&self, name: &str, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        self.filled(name, shape, move |_, n| vec![value; n])
    }

    /// The values are made at the first use, so a network that is loaded from a file never makes them.
    fn filled<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        fill: impl FnOnce(u64, usize) -> Vec<f32> + Send + Sync + 'static,
    ) -> Param<Tensor<D>> {
        let stream = stream_of(&self.join(name), self.seed);
        let init = move |device: &Device, require_grad| {
            let values = fill(stream, shape.iter().product());
            Tensor::from_data(TensorData::new(values, shape), device).set_require_grad(require_grad)
        };
        Param::uninitialized(ParamId::new(), init, self.device.clone(), self.trainable, shape.into())
    }

    fn join(&self, name: impl Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }
}

/// State of the stream that belongs to `name` under `seed`.
pub fn stream_of(name: &str, seed: u64) -> u64 {
    let fnv1a =
        name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
    fnv1a.wrapping_add(seed.wrapping_mul(GOLDEN))
}

/// Element `i` of a stream: uniform in `[-1, 1)`, a multiple of `2^-23`.
pub fn unit(stream: u64, i: usize) -> f64 {
    (output(stream, i) >> 40) as f64 / f64::from(1 << 23) - 1.0
}

/// Element `i` of a stream as a standard normal number.
fn gauss(stream: u64, i: usize) -> f64 {
    normal(output(stream, 2 * i), output(stream, 2 * i + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(seed: u64, path: &str) -> Vec<f32> {
        let init = Init::new(seed, &Device::flex()).at(path);
        init.normal("weight", [20_000], 2.0).val().into_data().try_to_vec().expect("f32")
    }

    #[test]
    fn values_follow_from_seed_and_name_alone() {
        assert_eq!(values(1, "a"), values(1, "a"));
        assert_ne!(values(1, "a"), values(2, "a"));
        assert_ne!(values(1, "a"), values(1, "b"));
    }

    #[test]
    fn normal_values_have_the_stated_mean_and_deviation() {
        let values = values(3, "x");
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 0.05, "{mean}");
        assert!((variance.sqrt() - 2.0).abs() < 0.04, "{variance}");
    }

    #[test]
    fn uniform_values_fill_their_interval() {
        let init = Init::new(0, &Device::flex());
        let values: Vec<f32> = init.uniform("w", [20_000], 0.5).val().into_data().try_to_vec().expect("f32");
        let (low, high) = values.iter().fold((0.0_f32, 0.0_f32), |(l, h), &v| (l.min(v), h.max(v)));
        assert!((-0.5..-0.499).contains(&low) && (0.499..0.5).contains(&high), "{low} {high}");
    }
}
