//! Family `Codec`: pixels to what the diffusion runs on, and back.

use burn::tensor::Device;

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
