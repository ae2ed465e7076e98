//! `D(f)_n = w . f_n` for the feature `f_n` of each token. Replace it by your heads, and name their source.

use add_plugin::{
    Discriminator, Draw, Entry, Head, Logits, PluginError, Purpose, Tangent, frozen, inventory,
};
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};

/// What the heads are made of, and with which feature networks they were used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Skeleton {
    /// Standard deviation of the initial weights.
    pub(crate) deviation: f64,
}

impl Default for Skeleton {
    fn default() -> Self {
        Self { deviation: 0.02 }
    }
}

impl Head for Skeleton {
    fn init(
        &self,
        feature_channels: &[usize],
        _condition_width: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Box<dyn Discriminator>, PluginError> {
        if feature_channels.is_empty() || feature_channels.contains(&0) {
            let problem = format!("the heads need features with channels, got {feature_channels:?}");
            return Err(PluginError::Mismatch(problem));
        }
        let weight = |(head, &channels): (usize, &usize)| {
            let draw = Draw { seed, step: head as u64, index: 0 };
            let values: Vec<f64> = draw.normal(Purpose::Init, channels).into_iter().map(f64::from).collect();
            let values = TensorData::new(values, [1, channels, 1]);
            let weight = Tensor::<3>::from_data(values, device).mul_scalar(self.deviation);
            OneHead { weight: Param::from_tensor(weight.detach()) }
        };
        Ok(Box::new(Heads { heads: feature_channels.iter().enumerate().map(weight).collect() }))
    }
}

inventory::submit!(Entry::head::<Skeleton>("Skeleton", "the paper and its section"));

/// One head per feature.
#[derive(Module, Debug)]
struct Heads {
    heads: Vec<OneHead>,
}

#[derive(Module, Debug)]
struct OneHead {
    /// `[1, C, 1]`.
    weight: Param<Tensor<3>>,
}

impl OneHead {
    /// `[B, C, N]` to `[B, N]`.
    fn forward(&self, features: &Tensor<3>) -> Tensor<2> {
        (features.clone() * self.weight.val()).sum_dim(1).squeeze_dim(1)
    }
}

impl Discriminator for Heads {
    /// Nothing: there are no spectral norms.
    fn power_iterate(&mut self) {}

    fn logits(&self, features: &[Tensor<3>], _condition: Option<Tensor<2>>) -> Vec<Logits> {
        self.heads.iter().zip(features).map(|(head, features)| Logits(head.forward(features))).collect()
    }

    /// The heads are linear, so the derivative along a direction is the head of that direction.
    fn tangent(
        &self,
        features: &[Tensor<3>],
        tangents: &[Tensor<3>],
        _condition: Option<Tensor<2>>,
    ) -> Option<Vec<Tangent>> {
        let heads = self.heads.iter().zip(features.iter().zip(tangents));
        let both = heads.map(|(head, (features, along))| Tangent {
            primal: head.forward(features),
            tangent: head.forward(along),
        });
        Some(both.collect())
    }

    fn check_batch(&self, _batch: usize) -> Result<(), PluginError> {
        Ok(())
    }

    fn frozen(&self) -> Box<dyn Discriminator> {
        Box::new(frozen(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Box<dyn Discriminator> {
        let mut heads = Skeleton::default().init(&[2], 0, 5, &Device::flex()).unwrap();
        heads.map_parameters(&mut |_, _, value| {
            Tensor::from_data(TensorData::from([2.0_f32, -1.0]), &value.device())
        });
        heads
    }

    #[test]
    fn logits_are_those_computed_by_hand() {
        // Two channels at two tokens: (1, 3) and (2, 4).
        let features = Tensor::<3>::from_data([[[1.0_f32, 2.0], [3.0, 4.0]]], &Device::flex());
        let logits = heads().logits(&[features], None).swap_remove(0).0;
        let expected = Tensor::<2>::from_data([[-1.0_f32, 0.0]], &Device::flex());
        logits.into_data().assert_eq(&expected.into_data(), true);
    }

    #[test]
    fn the_tangent_is_the_difference_along_the_direction() {
        let [features, along] = [0.5, 0.25].map(|value| Tensor::<3>::full([3, 2, 4], value, &Device::flex()));
        let moved = [features.clone() + along.clone()];
        let heads = heads();
        let tangent = heads.tangent(&[features], &[along], None).unwrap().swap_remove(0);
        let difference = heads.logits(&moved, None).swap_remove(0).0 - tangent.primal;
        assert!((difference - tangent.tangent).abs().max().into_scalar::<f32>() < 1e-6);
    }

    #[test]
    fn a_feature_without_channels_is_refused() {
        assert!(Skeleton::default().init(&[4, 0], 0, 1, &Device::flex()).is_err());
    }
}
