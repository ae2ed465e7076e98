//! Family `Backbone`: the denoiser that student and teacher are made of.

use std::path::Path;

use burn::tensor::{Device, Tensor};

use crate::{
    Component, Conditioning, LoraConfig, Network, PluginError, Prediction, TextInfo, Timesteps,
    registry::Family,
};

/// A denoiser's architecture, as the recipe states it.
pub trait Backbone: Family {
    /// What its input and output look like.
    fn info(&self) -> BackboneInfo;

    /// A freshly initialised network on `device`: trainable on an autodiff device, constant on a plain one.
    ///
    /// # Errors
    /// When the architecture does not fit the text encoder, or contradicts itself.
    fn init(&self, text: TextInfo, seed: u64, device: &Device) -> Result<Box<dyn Denoiser>, PluginError>;

    /// A network on `device` whose trainable parameters are adapters, which begin as nothing; the others are to be filled.
    ///
    /// # Errors
    /// As [`init`](Self::init), or when the backbone knows no adapters.
    fn adapted(
        &self,
        _text: TextInfo,
        _lora: &LoraConfig,
        _seed: u64,
        _device: &Device,
    ) -> Result<Box<dyn Denoiser>, PluginError> {
        Err(PluginError::Mismatch("this backbone knows no adapters; expected `adapter: Off()`".to_owned()))
    }

    /// Whether its tape keeps the inputs of its blocks alone; what is inside is computed again.
    fn is_checkpointed(&self) -> bool {
        false
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
            "this backbone is of this project and has no released weights; expected Random() or File(...)"
                .to_owned(),
        ))
    }
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
    /// The raw prediction for `x_t: [B, C, H, W]` at `t`, of the same shape.
    fn predict(&self, x_t: Tensor<4>, t: &Timesteps, conditioning: &Conditioning) -> Tensor<4>;

    /// A constant copy on the plain device that shares the numbers.
    fn frozen(&self) -> Box<dyn Denoiser>;
}
