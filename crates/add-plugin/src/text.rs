//! Family `TextEncoder`: captions to what a denoiser and a discriminator are conditioned on.

use std::ops::Range;

use burn::tensor::{Device, Tensor};

use crate::{Network, Pipeline, PluginError, registry::Family};

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

    /// The pipeline of diffusers that it belongs to; `None` for an encoder of this project's own.
    fn pipeline(&self) -> Option<Pipeline> {
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

    /// A constant copy on the plain device that shares the numbers.
    fn frozen(&self) -> Box<dyn TextNetwork>;
}

dyn_clone::clone_trait_object!(TextNetwork);

/// What a denoiser is told about the picture it should make.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// Token states `[B, N, C]`.
    pub tokens: Tensor<3>,
    /// Pooled embedding `[B, P]`; it also conditions the discriminator (`c_text`).
    pub pooled: Tensor<2>,
}

impl Conditioning {
    /// This batch followed by `other`.
    #[must_use]
    pub fn cat(self, other: Self) -> Self {
        Self {
            tokens: Tensor::cat(vec![self.tokens, other.tokens], 0),
            pooled: Tensor::cat(vec![self.pooled, other.pooled], 0),
        }
    }

    /// Windows `[W, N, C]` of one caption as the caption `[1, W * N, C]`, with the first one's pooled embedding.
    #[must_use]
    pub fn joined(self) -> Self {
        let [windows, tokens, width] = self.tokens.dims();
        Self {
            tokens: self.tokens.reshape([1, windows * tokens, width]),
            pooled: self.pooled.narrow(0, 0, 1),
        }
    }

    /// The token states so many times one after the other. Attention over them gives what it gives over one copy, so that
    /// captions of different lengths fit together.
    #[must_use]
    pub fn again(self, times: usize) -> Self {
        Self { tokens: self.tokens.repeat_dim(1, times), ..self }
    }

    /// A batch of one, `batch` times.
    #[must_use]
    pub fn repeat(&self, batch: usize) -> Self {
        Self {
            tokens: self.tokens.clone().repeat_dim(0, batch),
            pooled: self.pooled.clone().repeat_dim(0, batch),
        }
    }

    /// Samples `range` of the batch.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self {
            tokens: self.tokens.clone().slice([range.clone()]),
            pooled: self.pooled.clone().slice([range]),
        }
    }

    /// Samples `rows` of the batch, of which there is at least one.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            tokens: Tensor::cat(rows.iter().map(|&i| self.tokens.clone().narrow(0, i, 1)).collect(), 0),
            pooled: Tensor::cat(rows.iter().map(|&i| self.pooled.clone().narrow(0, i, 1)).collect(), 0),
        }
    }

    /// Samples in the batch.
    pub fn batch(&self) -> usize {
        self.tokens.dims()[0]
    }
}
