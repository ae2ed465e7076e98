//! Family `TextEncoder`: captions to what a denoiser and a discriminator are conditioned on.

use burn::tensor::Device;

use crate::{
    Conditioning, Network, PluginError, Release, ReleasedPipeline,
    registry::{Family, Plugin},
};

/// A text encoder, as the recipe states it.
pub trait TextEncoder: Family {
    /// The shapes it gives.
    fn info(&self) -> TextInfo;

    /// The network on `device`: freshly initialised where it has no weights of its own, otherwise with them and constant.
    ///
    /// # Errors
    /// When its vocabulary or its weights cannot be had.
    fn init(&self, seed: u64, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError>;

    /// The files that [`init`](Self::init) reads: paths, or places on a hub. With none, the network belongs to the model
    /// that is trained, and its values to that model's file.
    fn weights(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether the pooled embedding is projected into the space that a CLIP's texts share with its pictures.
    fn is_projected(&self) -> bool {
        false
    }

    /// The pipeline of diffusers that it belongs to; `None` for an encoder of this project's own.
    fn pipeline(&self) -> Option<ReleasedPipeline> {
        None
    }

    /// The same encoder with the weights of `release`, to make pictures; `None` where no released model holds it.
    fn in_release(&self, _release: &Release<'_>) -> Option<Plugin<dyn TextEncoder>> {
        None
    }

    /// The network without its weights, to be counted: no file is read and no value made.
    ///
    /// # Errors
    /// When the recipe's numbers do not hold together.
    fn outline(&self, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        self.init(0, device)
    }
}

/// Shapes of a text encoder's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextInfo {
    /// Tokens per caption.
    pub tokens: usize,
    /// Width of a token's state.
    pub width: usize,
    /// Width of the pooled embedding.
    pub pooled: usize,
}

/// A text encoder on a device.
pub trait TextNetwork: Network {
    /// Tokenizes and encodes; the empty caption is the unconditional one. What a caption has beyond the encoder's tokens is
    /// left out.
    fn encode(&self, captions: &[String]) -> Conditioning;

    /// The whole of a caption: as many windows of the encoder's tokens as it takes, each encoded by itself, their states one
    /// after the other `[1, W * N, C]`. Pooled is the first window's.
    ///
    /// This is how ComfyUI and A1111's web UI read a long prompt. Each window has a start and an end of its own.
    fn encode_windows(&self, caption: &str) -> Conditioning {
        self.encode(&[caption.to_owned()])
    }

    /// The words of a caption that [`encode`](Self::encode) leaves out, if there are any.
    fn left_out(&self, _caption: &str) -> Option<String> {
        None
    }

    /// Whether [`encode`](Self::encode) gives a mask over the tokens.
    fn gives_mask(&self) -> bool {
        false
    }

    /// A constant copy on the plain device that shares the numbers.
    fn frozen(&self) -> Box<dyn TextNetwork>;
}

dyn_clone::clone_trait_object!(TextNetwork);
