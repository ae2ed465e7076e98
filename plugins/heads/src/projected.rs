//! The discriminator heads of StyleGAN-T and ADD.
//!
//! See `head.rs` for the formula of one head. Sources: ADD, section 3.2; Sauer et al. 2023 (StyleGAN-T).

use std::num::NonZeroUsize;

use add_plugin::{Discriminator, Draw, Entry, Head, Logits, PluginError, Tangent, frozen, inventory, within};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

use crate::head::{HeadNetwork, HeadShape};

/// Heads of spectrally normalised convolutions with a projection onto the condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectedHead {
    /// Kernel of each block, in tokens, odd; every block but the first is residual.
    pub kernels: Vec<usize>,
    /// Width `P` in which features and condition meet.
    pub projection_width: NonZeroUsize,
    /// Whether convolution weights are divided by their largest singular value.
    pub spectral_norm: bool,
    /// Samples that share their normalisation statistics.
    pub virtual_batch: NonZeroUsize,
}

impl Default for ProjectedHead {
    fn default() -> Self {
        Self {
            kernels: vec![1, 9],
            projection_width: const { NonZeroUsize::new(64).unwrap() },
            spectral_norm: true,
            virtual_batch: const { NonZeroUsize::new(8).unwrap() },
        }
    }
}

/// Streams of initial values that one head may use.
const STREAMS_PER_HEAD: u64 = 1 << 16;
/// Most blocks, largest kernel and largest projection: the paper's are 2, 9 and 64.
const MAX_BLOCKS: usize = 16;
const MAX_KERNEL: usize = 255;
const MAX_WIDTH: usize = 4096;

impl Head for ProjectedHead {
    fn init(
        &self,
        feature_channels: &[usize],
        condition_width: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Box<dyn Discriminator>, PluginError> {
        Ok(Box::new(self.build(feature_channels, condition_width, seed, device)?))
    }
}

inventory::submit!(Entry::head::<ProjectedHead>("ProjectedHead", "ADD, section 3.2; StyleGAN-T"));

impl ProjectedHead {
    /// The network itself, for whoever needs more than a [`Discriminator`].
    ///
    /// # Errors
    /// When there is no feature, or a kernel is even or absent.
    pub fn build(
        &self,
        feature_channels: &[usize],
        condition_width: usize,
        seed: u64,
        device: &Device,
    ) -> Result<ProjectedHeads, PluginError> {
        within("kernels", self.kernels.len(), 1..=MAX_BLOCKS)?;
        within("kernels", self.kernels.iter().copied().max().unwrap_or(0), 1..=MAX_KERNEL)?;
        within("projection_width", self.projection_width.get(), 1..=MAX_WIDTH)?;
        if self.kernels.is_empty() || self.kernels.iter().any(|k| k % 2 == 0) {
            let problem = format!("expected at least one odd number of tokens, got {:?}", self.kernels);
            return Err(PluginError::Field { field: "kernels", problem });
        }
        if feature_channels.is_empty() || feature_channels.contains(&0) {
            let problem = format!("the heads need features with channels, got {feature_channels:?}");
            return Err(PluginError::Mismatch(problem));
        }
        let head = |(k, &channels): (usize, &usize)| {
            let draw = Draw { seed, step: k as u64 * STREAMS_PER_HEAD, index: 0 };
            let shape = HeadShape {
                channels,
                kernels: &self.kernels,
                projection_width: self.projection_width.get(),
                condition_width,
                spectral_norm: self.spectral_norm,
            };
            HeadNetwork::new(shape, draw, device)
        };
        Ok(ProjectedHeads {
            heads: feature_channels.iter().enumerate().map(head).collect(),
            virtual_batch: self.virtual_batch.get(),
        })
    }
}

/// One head per feature.
#[derive(Module, Debug)]
pub struct ProjectedHeads {
    heads: Vec<HeadNetwork>,
    #[module(skip)]
    virtual_batch: usize,
}

impl ProjectedHeads {
    /// `[B, C, N]` to `[G, C, S, N]`: groups of consecutive samples that are normalised together.
    fn grouped(&self, h: &Tensor<3>) -> Tensor<4> {
        let [batch, channels, tokens] = h.dims();
        let samples = batch.min(self.virtual_batch);
        assert!(batch.is_multiple_of(samples), "`check_batch` refuses a batch of {batch}");
        h.clone().reshape([batch / samples, samples, channels, tokens]).swap_dims(1, 2)
    }
}

impl Discriminator for ProjectedHeads {
    fn power_iterate(&mut self) {
        self.heads.iter_mut().for_each(HeadNetwork::power_iterate);
    }

    fn logits(&self, features: &[Tensor<3>], condition: Option<Tensor<2>>) -> Vec<Logits> {
        assert_eq!(features.len(), self.heads.len(), "one feature per head");
        let heads = self.heads.iter().zip(features);
        heads.map(|(head, h)| Logits(head.logits(self.grouped(h), condition.as_ref()))).collect()
    }

    fn tangent(
        &self,
        features: &[Tensor<3>],
        tangents: &[Tensor<3>],
        condition: Option<Tensor<2>>,
    ) -> Option<Vec<Tangent>> {
        assert_eq!(
            (features.len(), tangents.len()),
            (self.heads.len(), self.heads.len()),
            "one feature per head"
        );
        let heads = self.heads.iter().zip(features.iter().zip(tangents));
        let pass = |(head, (h, dh)): (&HeadNetwork, (&Tensor<3>, &Tensor<3>))| {
            head.tangent(self.grouped(h), self.grouped(dh), condition.as_ref())
        };
        Some(heads.map(pass).collect())
    }

    fn check_batch(&self, batch: usize) -> Result<(), PluginError> {
        let group = self.virtual_batch;
        if batch > 0 && (batch <= group || batch.is_multiple_of(group)) {
            return Ok(());
        }
        let problem = format!(
            "the heads normalise over groups of {group} samples: expected a batch per device of at most {group}, or a \
             multiple of it, got {batch}"
        );
        Err(PluginError::Mismatch(problem))
    }

    fn frozen(&self) -> Box<dyn Discriminator> {
        Box::new(frozen(self))
    }
}

/// The name of a parameter in a StyleGAN-T state dict, from its path here:
/// `heads.0.main.1.conv.bias` is `heads.0.main.1.fn.0.bias` there.
pub fn stylegan_t_name(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    let Some(main) = parts.iter().position(|part| *part == "main") else { return path.to_owned() };
    let [block, layer] = [parts[main + 1], parts[main + 2]];
    let layer = if layer == "conv" { "0" } else { "1" };
    // A residual block wraps its function.
    let inside = if block == "0" { layer.to_owned() } else { format!("fn.{layer}") };
    [&parts[..=main], &[block, &inside], &parts[main + 3..]].concat().join(".")
}

#[cfg(test)]
mod tests {
    use add_plugin::{Network, Plugin};

    use super::*;

    fn recipe(text: &str) -> ron::error::SpannedResult<Plugin<dyn Head>> {
        use ron::extensions::Extensions;
        ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES).from_str(text)
    }

    fn heads(channels: &[usize], condition: usize) -> Box<dyn Discriminator> {
        recipe("ProjectedHead()").unwrap().init(channels, condition, 5, &Device::flex()).unwrap()
    }

    #[test]
    fn logits_have_one_value_per_token() {
        let features = [Tensor::ones([4, 6, 9], &Device::flex()), Tensor::ones([4, 5, 1], &Device::flex())];
        let condition = Tensor::ones([4, 3], &Device::flex());
        let logits = heads(&[6, 5], 3).logits(&features, Some(condition));
        assert_eq!(logits.iter().map(|l| l.0.dims()).collect::<Vec<_>>(), [[4, 9], [4, 1]]);
    }

    #[test]
    fn names_are_those_of_stylegan_t() {
        let mut names = Vec::new();
        heads(&[4], 2)
            .for_each_parameter(&mut |path, shape, _| names.push((stylegan_t_name(path), shape.to_vec())));
        let want: [(&str, &[usize]); 18] = [
            ("heads.0.main.0.0.weight_orig", &[4, 4, 1]),
            ("heads.0.main.0.0.bias", &[4]),
            ("heads.0.main.0.0.weight_u", &[4]),
            ("heads.0.main.0.0.weight_v", &[4]),
            ("heads.0.main.0.1.weight", &[4]),
            ("heads.0.main.0.1.bias", &[4]),
            ("heads.0.main.1.fn.0.weight_orig", &[4, 4, 9]),
            ("heads.0.main.1.fn.0.bias", &[4]),
            ("heads.0.main.1.fn.0.weight_u", &[4]),
            ("heads.0.main.1.fn.0.weight_v", &[36]),
            ("heads.0.main.1.fn.1.weight", &[4]),
            ("heads.0.main.1.fn.1.bias", &[4]),
            ("heads.0.cls.weight_orig", &[64, 4, 1]),
            ("heads.0.cls.bias", &[64]),
            ("heads.0.cls.weight_u", &[64]),
            ("heads.0.cls.weight_v", &[4]),
            ("heads.0.cmapper.weight", &[64, 2]),
            ("heads.0.cmapper.bias", &[64]),
        ];
        assert_eq!(names, want.map(|(name, shape)| (name.to_owned(), shape.to_vec())));
    }

    #[test]
    fn batches_that_do_not_split_into_groups_are_refused() {
        let heads = heads(&[4], 0);
        for fits in [1, 3, 8, 16, 64] {
            assert!(heads.check_batch(fits).is_ok(), "{fits}");
        }
        for wrong in [0, 9, 12, 20] {
            assert!(heads.check_batch(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn impossible_heads_are_refused() {
        for wrong in ["ProjectedHead(kernels: [])", "ProjectedHead(kernels: [1, 4])"] {
            assert!(recipe(wrong).unwrap().init(&[4], 0, 1, &Device::flex()).is_err(), "{wrong}");
        }
        assert!(recipe("ProjectedHead(projection_width: 0)").is_err());
        assert!(recipe("ProjectedHead()").unwrap().init(&[], 0, 1, &Device::flex()).is_err());
    }

    #[test]
    fn the_seed_decides_the_initial_values() {
        let first = |seed: u64| {
            let heads = ProjectedHead::default().build(&[4], 2, seed, &Device::flex()).unwrap();
            let mut values = Vec::new();
            heads.for_each_parameter(&mut |_, _, value| {
                values.push(value.into_data().try_to_vec::<f32>().unwrap());
            });
            values
        };
        assert_eq!(first(3), first(3));
        assert_ne!(first(3), first(4));
    }
}
