//! Token states of one text encoder and the pooled embedding of another.
//!
//! The heads' `c_text` is the pooled embedding, and the paper's is that of CLIP ViT-g, which is not the text encoder of
//! any Stable Diffusion model. A denoiser that uses the pooled embedding itself (SDXL) must have its own.

use std::collections::BTreeMap;

use add_plugin::{
    Conditioning, Entry, Fill, Network, Plugin, PluginError, Release, TextEncoder, TextInfo, TextNetwork,
    inventory,
};
use burn::tensor::{Device, Gradients, Tensor};
use serde::{Deserialize, Serialize};

/// Two text encoders on the same captions.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PooledFrom {
    /// What the denoiser attends to.
    pub tokens: Plugin<dyn TextEncoder>,
    /// What the heads are conditioned on.
    pub pooled: Plugin<dyn TextEncoder>,
}

inventory::submit!(Entry::text_encoder::<PooledFrom>("PooledFrom", "ADD, section 4"));

impl PooledFrom {
    /// Both are needed with weights of their own: a network that is trained with the denoiser has one pooled embedding.
    fn both(
        &self,
        make: impl Fn(&Plugin<dyn TextEncoder>) -> Result<Box<dyn TextNetwork>, PluginError>,
    ) -> Result<Box<dyn TextNetwork>, PluginError> {
        for (field, encoder) in [("tokens", &self.tokens), ("pooled", &self.pooled)] {
            if encoder.weights().is_empty() {
                let problem =
                    format!("expected a text encoder with weights of its own, got {}", encoder.name());
                return Err(PluginError::Field { field, problem });
            }
        }
        Ok(Box::new(Pair { tokens: make(&self.tokens)?, pooled: make(&self.pooled)? }))
    }
}

impl TextEncoder for PooledFrom {
    fn info(&self) -> TextInfo {
        TextInfo { pooled: self.pooled.info().pooled, ..self.tokens.info() }
    }

    fn is_projected(&self) -> bool {
        self.pooled.is_projected()
    }

    fn weights(&self) -> Vec<String> {
        [self.tokens.weights(), self.pooled.weights()].concat()
    }

    fn init(&self, seed: u64, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        self.both(|encoder| encoder.init(seed, device))
    }

    /// A released model holds what its denoiser attends to; the pooled embedding serves the heads of a training alone.
    fn in_release(&self, release: &Release<'_>) -> Option<Plugin<dyn TextEncoder>> {
        self.tokens.in_release(release)
    }

    fn outline(&self, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        self.both(|encoder| encoder.outline(device))
    }
}

#[derive(Debug, Clone)]
struct Pair {
    tokens: Box<dyn TextNetwork>,
    pooled: Box<dyn TextNetwork>,
}

/// `path` behind `part`.
fn at(part: &str, path: &str) -> String {
    format!("{part}.{path}")
}

impl Network for Pair {
    fn for_each_parameter(&self, f: &mut dyn FnMut(&str, &[usize], Tensor<1>)) {
        self.tokens.for_each_parameter(&mut |path, shape, value| f(&at("tokens", path), shape, value));
        self.pooled.for_each_parameter(&mut |path, shape, value| f(&at("pooled", path), shape, value));
    }

    fn for_each_shape(&self, f: &mut dyn FnMut(&str, &[usize])) {
        self.tokens.for_each_shape(&mut |path, shape| f(&at("tokens", path), shape));
        self.pooled.for_each_shape(&mut |path, shape| f(&at("pooled", path), shape));
    }

    fn map_parameters(&mut self, f: &mut dyn FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>) {
        self.tokens.map_parameters(&mut |path, shape, value| f(&at("tokens", path), shape, value));
        self.pooled.map_parameters(&mut |path, shape, value| f(&at("pooled", path), shape, value));
    }

    fn set_parameters(&mut self, f: &mut Fill<'_>) {
        self.tokens.set_parameters(&mut |path, shape, device| f(&at("tokens", path), shape, device));
        self.pooled.set_parameters(&mut |path, shape, device| f(&at("pooled", path), shape, device));
    }

    fn take_gradients(&self, gradients: &mut Gradients) -> BTreeMap<String, Tensor<1>> {
        let mut taken = BTreeMap::new();
        for (part, network) in [("tokens", &self.tokens), ("pooled", &self.pooled)] {
            taken.extend(network.take_gradients(gradients).into_iter().map(|(path, g)| (at(part, &path), g)));
        }
        taken
    }
}

impl TextNetwork for Pair {
    fn encode(&self, captions: &[String]) -> Conditioning {
        Conditioning { pooled: self.pooled.encode(captions).pooled, ..self.tokens.encode(captions) }
    }

    fn gives_mask(&self) -> bool {
        self.tokens.gives_mask()
    }

    fn encode_windows(&self, caption: &str) -> Conditioning {
        let pooled = self.pooled.encode(&[caption.to_owned()]).pooled;
        Conditioning { pooled, ..self.tokens.encode_windows(caption) }
    }

    fn left_out(&self, caption: &str) -> Option<String> {
        self.tokens.left_out(caption)
    }

    fn frozen(&self) -> Box<dyn TextNetwork> {
        Box::new(Self { tokens: self.tokens.frozen(), pooled: self.pooled.frozen() })
    }
}
