//! Family `Codec`: pixels to what the diffusion runs on, and back.

use burn::tensor::{Device, Tensor};

use crate::{
    Component, Latents, Network, Pixels, PluginError, Release,
    registry::{Family, Plugin},
};

/// A codec, as the recipe states it.
pub trait Codec: Family {
    /// Channels and reduction of its latents.
    fn info(&self) -> LatentInfo;

    /// The network on `device`.
    ///
    /// # Errors
    /// When its weights cannot be had.
    fn init(&self, device: &Device) -> Result<Box<dyn Autoencoder>, PluginError>;

    /// The files that [`init`](Self::init) reads: paths, or places on a hub.
    fn weights(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether its tape keeps the inputs of its blocks alone; what is inside is computed again.
    fn is_checkpointed(&self) -> bool {
        false
    }

    /// What diffusers calls it; `None` where it has no such network.
    fn component(&self) -> Option<Component> {
        None
    }

    /// The same codec with the weights of `release`; `None` where no released model holds it.
    fn in_release(&self, _release: &Release<'_>) -> Option<Plugin<dyn Codec>> {
        None
    }

    /// The network without its weights, to be counted: no file is read and no value made.
    ///
    /// # Errors
    /// When the recipe's numbers do not hold together.
    fn outline(&self, device: &Device) -> Result<Box<dyn Autoencoder>, PluginError> {
        self.init(device)
    }

    /// Whether it states no weights, so that it has nothing to say before it is trained.
    fn is_drawn(&self) -> bool {
        false
    }

    /// The network to be trained, with values that are drawn from `seed`: trainable on an autodiff device.
    ///
    /// # Errors
    /// When this codec cannot be trained here, or the recipe's numbers do not hold together.
    fn trainable(&self, _seed: u64, _device: &Device) -> Result<Box<dyn TrainableAutoencoder>, PluginError> {
        Err(PluginError::Mismatch(
            "this codec is used as it was released and cannot be trained here; expected one that can"
                .to_owned(),
        ))
    }
}

/// Shape of a codec's latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentInfo {
    /// Number of channels.
    pub channels: usize,
    /// Pixels per latent in each direction.
    pub reduction: usize,
}

/// A codec on a device; its weights are constants.
pub trait Autoencoder: Network {
    /// Pixels to scaled latents (the mode of the posterior, where there is one).
    fn encode(&self, pixels: Pixels) -> Latents;

    /// Scaled latents to pixels; gradients flow through.
    fn decode(&self, latents: Latents) -> Pixels;
}

/// A codec whose weights are trained.
///
/// Its `encode` and `decode` scale latents by [`set_scale`](Self::set_scale), whose numbers are known when the training is over.
/// What is trained, [`posterior`](Self::posterior) and [`reconstruct`](Self::reconstruct), works on the latents as they are.
pub trait TrainableAutoencoder: Autoencoder {
    /// The distribution of the latents of pixels.
    fn posterior(&self, pixels: Pixels) -> Posterior;

    /// Latents `[B, C, h, w]` of a posterior to pixels.
    fn reconstruct(&self, z: Tensor<4>) -> Pixels;

    /// From now on `encode` subtracts `mean` from each channel and divides it by `deviation`, and `decode` undoes it.
    fn set_scale(&mut self, mean: &[f64], deviation: &[f64]);

    /// A constant copy on the plain device that shares the numbers.
    fn frozen(&self) -> Box<dyn TrainableAutoencoder>;
}

/// A normal distribution with a diagonal covariance over the latents of each picture.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// `[B, C, h, w]`.
    pub mean: Tensor<4>,
    /// Logarithm of the variance, `[B, C, h, w]`.
    pub logvar: Tensor<4>,
}

impl Posterior {
    /// `mean + std * noise`, with `noise: [B, C, h, w]` from `N(0, 1)`.
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + self.logvar.clone().mul_scalar(0.5).exp() * noise
    }
}
