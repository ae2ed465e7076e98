//! Family `FeatureNetwork`: the frozen network `F` whose features the discriminator heads read.

use burn::tensor::{Device, Tensor};

use crate::{Network, Pixels, PluginError, registry::Family};

/// A feature network, as the recipe states it.
pub trait FeatureNetwork: Family {
    /// The network on `device`, with its weights.
    ///
    /// # Errors
    /// When its weights cannot be had.
    fn init(&self, device: &Device) -> Result<Box<dyn FeatureExtractor>, PluginError>;

    /// The files that [`init`](Self::init) reads: paths, or places on a hub.
    fn weights(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether its tape keeps the inputs of its blocks alone; what is inside is computed again.
    fn is_checkpointed(&self) -> bool {
        false
    }

    /// The network without its weights, to be counted: no file is read and no value made.
    ///
    /// # Errors
    /// When the recipe's numbers do not hold together.
    fn outline(&self, device: &Device) -> Result<Box<dyn FeatureExtractor>, PluginError> {
        self.init(device)
    }
}

/// A frozen feature network on a device; gradients flow to its input, never to its weights.
pub trait FeatureExtractor: Network {
    /// Name and channels of each hooked layer, in the order of [`features`](Self::features).
    fn hooks(&self) -> Vec<(String, usize)>;

    /// What the network is called, as part of the names of figures that are measured through it: what its hooks' names
    /// begin with.
    fn name(&self) -> String {
        let hook = self.hooks().into_iter().next().map_or_else(String::new, |(hook, _)| hook);
        hook.rsplit_once('-').map_or_else(|| hook.clone(), |(name, _)| name.to_owned())
    }

    /// For a classifier: the labelling that each hook decides and the classes of its channels, in order.
    fn classes(&self) -> Vec<(&'static str, Vec<String>)> {
        Vec::new()
    }

    /// Side of the square input that it takes, in pixels.
    fn input_size(&self) -> usize;

    /// Width of [`embedding`](Self::embedding).
    fn embedding_width(&self) -> usize;

    /// One `[B, C, N]` per hook, for pictures that already have the side [`input_size`](Self::input_size).
    /// The network's own normalisation of pixel values happens inside.
    fn features(&self, pixels: Pixels) -> Vec<Tensor<3>>;

    /// One vector per picture `[B, C]`, as `c_img` wants it (CLS, or the mean over the last hook's positions).
    fn embedding(&self, pixels: Pixels) -> Tensor<2>;
}
