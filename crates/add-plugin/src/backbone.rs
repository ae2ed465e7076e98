//! Family `Backbone`: the denoiser that student and teacher are made of.

use std::path::Path;

use burn::tensor::{Device, Tensor};

use crate::{
    Component, Conditioning, LoraConfig, Network, Plugin, PluginError, Prediction, SizeConditioning,
    TextInfo, Timesteps, registry::Family,
};

/// A denoiser's architecture, as the recipe states it.
pub trait Backbone: Family {
    /// What its input and output look like.
    fn info(&self) -> BackboneInfo;

    /// Whether the network can be conditioned on what a text encoder of these shapes gives. By default it is made to their
    /// widths, so it can.
    ///
    /// # Errors
    /// When the network was made for token states or a pooled embedding of another width.
    fn check_text(&self, _text: TextInfo) -> Result<(), PluginError> {
        Ok(())
    }

    /// A freshly initialised network on `device`: trainable on an autodiff device, constant on a plain one.
    ///
    /// # Errors
    /// When the architecture does not fit the text encoder, or contradicts itself.
    fn init(&self, text: TextInfo, seed: u64, device: &Device) -> Result<Box<dyn Denoiser>, PluginError>;

    /// A network on `device` whose trainable parameters are adapters, which begin as nothing; the others are to be filled.
    ///
    /// # Errors
    /// As [`init`](Self::init), or when the backbone does not support adapters.
    fn adapted(
        &self,
        _text: TextInfo,
        _lora: &LoraConfig,
        _seed: u64,
        _device: &Device,
    ) -> Result<Box<dyn Denoiser>, PluginError> {
        Err(PluginError::Mismatch(
            "this backbone does not support adapters; expected `adapter: Off()`".to_owned(),
        ))
    }

    /// Whether its tape keeps the inputs of its blocks alone; what is inside is computed again.
    fn is_checkpointed(&self) -> bool {
        false
    }

    /// What the denoiser is to be told of its pictures' sizes; `None` for one that is told nothing.
    fn sizes(&self) -> Option<SizeConditioning> {
        None
    }

    /// Whether the denoiser is told its guidance scale ([`Denoiser::takes_guidance`]), known before there is any weight.
    fn takes_guidance(&self) -> bool {
        false
    }

    /// Name and channels of the blocks whose states [`Denoiser::features`] gives, known before there is any weight. By
    /// default there are none.
    fn feature_blocks(&self) -> Vec<(String, usize)> {
        Vec::new()
    }

    /// What diffusers calls it; `None` for a network of this project's own.
    fn component(&self) -> Option<Component> {
        None
    }

    /// The network on `device` with the values of a released file.
    ///
    /// # Errors
    /// When the file does not fit, or no such network was ever released.
    fn load(
        &self,
        _text: TextInfo,
        _naming: Naming,
        _file: &Path,
        _device: &Device,
    ) -> Result<Box<dyn Denoiser>, PluginError> {
        Err(PluginError::Mismatch(
            "this backbone has no published weights; expected Random() or File(...)".to_owned(),
        ))
    }
}

/// Name and channels of each of `blocks`, for a denoiser of this backbone: what a field `blocks` of a recipe may say.
///
/// # Errors
/// When none is named, or one that the denoiser does not show; the error lists those that it does.
pub fn feature_hooks(
    backbone: &Plugin<dyn Backbone>,
    blocks: &[String],
) -> Result<Vec<(String, usize)>, PluginError> {
    let shown = backbone.feature_blocks();
    let names = || shown.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    if blocks.is_empty() {
        let problem = format!("expected at least one of {}'s blocks, {}", backbone.name(), names());
        return Err(PluginError::Field { field: "blocks", problem });
    }
    let find = |block: &String| {
        let found = shown.iter().find(|(name, _)| name == block).cloned();
        found.ok_or_else(|| PluginError::Field {
            field: "blocks",
            problem: format!("{} has no block `{block}`; expected some of {}", backbone.name(), names()),
        })
    };
    blocks.iter().map(find).collect()
}

/// Whose names the tensors of a released file carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// diffusers': the file of one network.
    Diffusers,
    /// The original training code's: all networks in one file.
    Ldm,
}

/// What a backbone takes and gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackboneInfo {
    /// Channels of its input and output.
    pub channels: usize,
    /// What its output means.
    pub prediction: Prediction,
    /// Height and width must be multiples of this.
    pub multiple_of: usize,
}

/// A denoising network on a device.
pub trait Denoiser: Network {
    /// The raw prediction for `x_t: [B, C, H, W]`, of the same shape. `t` is what the schedule tells a network of its
    /// timesteps ([`NoiseSchedule::network_times`](crate::NoiseSchedule::network_times)).
    ///
    /// # Panics
    /// May panic when `conditioning` has no sizes and the backbone takes them.
    fn predict(&self, x_t: Tensor<4>, t: &Timesteps, conditioning: &Conditioning) -> Tensor<4>;

    /// Whether it reads [`Conditioning::guidance`]. Such a network is told its guidance scale and asked once, where others
    /// are asked with and without the text.
    fn takes_guidance(&self) -> bool {
        false
    }

    /// The states after the named blocks ([`Backbone::feature_blocks`]) for the inputs of [`predict`](Self::predict): one
    /// `[B, C, N]` for each name, in their order. They are on the tape of `x_t`, if it has one; the weights of a
    /// [`frozen`](Self::frozen) network are constants. Nothing after the last of the blocks is computed.
    ///
    /// # Errors
    /// When it has no such block.
    fn features(
        &self,
        _x_t: Tensor<4>,
        _t: &Timesteps,
        _conditioning: &Conditioning,
        _blocks: &[String],
    ) -> Result<Vec<Tensor<3>>, PluginError> {
        Err(PluginError::Mismatch("this backbone shows no features of its blocks".to_owned()))
    }

    /// A constant copy on the plain device that shares the numbers.
    fn frozen(&self) -> Box<dyn Denoiser>;
}
