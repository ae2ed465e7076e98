//! A network of any family.

use add_plugin::{
    Autoencoder, Denoiser, Discriminator, FeatureExtractor, Network, TextNetwork, TrainableAutoencoder,
};

/// A network of any family.
#[derive(Debug)]
pub enum AnyNetwork {
    /// A denoiser.
    Denoiser(Box<dyn Denoiser>),
    /// A text encoder.
    Text(Box<dyn TextNetwork>),
    /// A codec.
    Codec(Box<dyn Autoencoder>),
    /// A codec that is trained.
    TrainedCodec(Box<dyn TrainableAutoencoder>),
    /// A feature network.
    Features(Box<dyn FeatureExtractor>),
    /// Discriminator heads.
    Heads(Box<dyn Discriminator>),
}

impl AnyNetwork {
    /// The network by the names of its parameters.
    pub fn network(&self) -> &dyn Network {
        match self {
            Self::Denoiser(network) => &**network,
            Self::Text(network) => &**network,
            Self::Codec(network) => &**network,
            Self::TrainedCodec(network) => &**network,
            Self::Features(network) => &**network,
            Self::Heads(network) => &**network,
        }
    }

    /// The same, to be changed.
    pub fn network_mut(&mut self) -> &mut dyn Network {
        match self {
            Self::Denoiser(network) => &mut **network,
            Self::Text(network) => &mut **network,
            Self::Codec(network) => &mut **network,
            Self::TrainedCodec(network) => &mut **network,
            Self::Features(network) => &mut **network,
            Self::Heads(network) => &mut **network,
        }
    }
}
