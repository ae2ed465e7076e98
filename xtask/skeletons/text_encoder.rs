//! A table with one row per byte of the caption. Replace it by your encoder, and name its source.

use add_nn::layers::{Embedding, Init};
use add_plugin::{Conditioning, Entry, PluginError, TextEncoder, TextInfo, TextNetwork, inventory, within};
use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};

/// What it reads, and which models are conditioned on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Skeleton {
    /// Tokens of a caption; longer ones are cut, shorter ones filled up.
    pub(crate) tokens: usize,
    /// Width of a token's state and of the pooled embedding.
    pub(crate) width: usize,
}

impl Default for Skeleton {
    fn default() -> Self {
        Self { tokens: 32, width: 64 }
    }
}

/// Most tokens, and the largest width: no slip of the keyboard may ask for the machine's whole memory.
const MAX_TOKENS: usize = 1024;
const MAX_WIDTH: usize = 4096;
/// Rows of the table: one for each byte, and one that fills up short captions.
const ROWS: usize = 257;
const FILL: i64 = 256;

impl TextEncoder for Skeleton {
    fn info(&self) -> TextInfo {
        TextInfo { tokens: self.tokens, width: self.width, pooled: self.width }
    }

    fn init(&self, seed: u64, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        within("tokens", self.tokens, 1..=MAX_TOKENS)?;
        within("width", self.width, 1..=MAX_WIDTH)?;
        let table = Embedding::new(ROWS, self.width, 1.0, &Init::new(seed, device).at("table"));
        Ok(Box::new(Network { table, tokens: self.tokens, device: device.clone() }))
    }
}

inventory::submit!(Entry::text_encoder::<Skeleton>("Skeleton", "the paper, or the release that it reads"));

/// The network on a device; its parameter is named `table.weight`.
#[derive(Module, Debug)]
struct Network {
    table: Embedding,
    #[module(skip)]
    tokens: usize,
    #[module(skip)]
    device: Device,
}

impl TextNetwork for Network {
    fn encode(&self, captions: &[String]) -> Conditioning {
        let row = |caption: &String| -> Vec<i64> {
            let ids = caption.bytes().map(i64::from).chain(std::iter::repeat(FILL));
            ids.take(self.tokens).collect()
        };
        let ids: Vec<i64> = captions.iter().flat_map(row).collect();
        let ids = TensorData::new(ids, [captions.len(), self.tokens]);
        let tokens = self.table.forward(Tensor::<2, Int>::from_data(ids, &self.device));
        let pooled = tokens.clone().mean_dim(1).squeeze_dim(1);
        Conditioning::new(tokens, pooled)
    }

    fn frozen(&self) -> Box<dyn TextNetwork> {
        Box::new(Self { device: self.device.clone().without_autodiff(), ..self.valid() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_are_the_stated_ones_and_captions_differ() {
        let plugin = Skeleton { tokens: 4, width: 6 };
        let network = plugin.init(1, &Device::flex()).unwrap();
        let encoded = network.encode(&["a cat".to_owned(), String::new()]);
        assert_eq!(encoded.tokens.dims(), [2, 4, 6]);
        assert_eq!(encoded.pooled.dims(), [2, 6]);
        let [cat, empty] = [0, 1].map(|i| encoded.pooled.clone().narrow(0, i, 1));
        assert!((cat - empty).abs().max().into_scalar::<f32>() > 1e-4);
    }

    #[test]
    fn a_frozen_copy_has_no_tape() {
        let network = Skeleton::default().init(1, &Device::flex().autodiff()).unwrap();
        let captions = ["a cat".to_owned()];
        assert!(network.encode(&captions).pooled.is_autodiff());
        assert!(!network.frozen().encode(&captions).pooled.is_autodiff());
    }
}
