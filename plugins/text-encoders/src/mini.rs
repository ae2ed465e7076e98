//! A small CLIP text encoder for the embedded emoji set, trained together with its teacher.
//!
//! It is CLIP's text transformer on CLIP's byte-pair encoding, but its table has rows only for the ids that occur
//! in the embedded captions; all others share one row. Pooled is the state at the end of the text.

use std::sync::OnceLock;

use add_nn::{
    clip_text::{ClipText, ClipTextConfig},
    layers::Init,
};
use add_plugin::{
    Conditioning, Entry, Fill, Network, PluginError, TextEncoder, TextInfo, TextNetwork, frozen, inventory,
    within,
};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::clip_bpe::{ClipBpe, END, START};

/// A small CLIP text transformer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mini {
    /// Transformer layers.
    pub layers: usize,
    /// Width of a token's state; also of the pooled embedding.
    pub width: usize,
    /// Attention heads; they divide the width.
    pub heads: usize,
    /// Tokens of a caption with start and end; longer captions are cut.
    pub tokens: usize,
}

impl Default for Mini {
    fn default() -> Self {
        Self { layers: 2, width: 128, heads: 4, tokens: 20 }
    }
}

inventory::submit!(Entry::text_encoder::<Mini>(
    "Mini",
    "CLIP's text transformer, small; Radford et al. 2021"
));

/// Largest number of tokens: CLIP's.
const MAX_TOKENS: usize = 77;
/// Most layers and largest width, those of CLIP's largest text encoder and more: no slip of the keyboard may ask for
/// the machine's whole memory.
const MAX_LAYERS: usize = 64;
const MAX_WIDTH: usize = 4096;

impl TextEncoder for Mini {
    fn info(&self) -> TextInfo {
        TextInfo { tokens: self.tokens, width: self.width, pooled: self.width }
    }

    fn init(&self, seed: u64, device: &Device) -> Result<Box<dyn TextNetwork>, PluginError> {
        if !(3..=MAX_TOKENS).contains(&self.tokens) {
            let problem = format!("expected 3 to {MAX_TOKENS}, got {}", self.tokens);
            return Err(PluginError::Field { field: "tokens", problem });
        }
        within("layers", self.layers, 1..=MAX_LAYERS)?;
        within("width", self.width, 1..=MAX_WIDTH)?;
        if self.heads == 0 || !self.width.is_multiple_of(self.heads.max(1)) {
            let Self { layers, width, heads, .. } = self;
            let problem =
                format!("{layers} layers of width {width} in {heads} heads; expected a divisor of the width");
            return Err(PluginError::Field { field: "heads", problem });
        }
        let config = ClipTextConfig {
            vocab_size: Vocabulary::embedded().size(),
            hidden_size: self.width,
            intermediate_size: 4 * self.width,
            projection_dim: self.width,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            max_position_embeddings: self.tokens,
            eos_token_id: i64::from(Vocabulary::embedded().end()),
            ..ClipTextConfig::default()
        };
        let network = ClipText::new(&config, &Init::new(seed, device))
            .map_err(|problem| PluginError::Mismatch(format!("the text encoder Mini: {problem}")))?;
        Ok(Box::new(MiniText { network, tokens: self.tokens, device: device.clone() }))
    }
}

/// CLIP's ids onto the rows of a small table.
struct Vocabulary {
    /// The ids that occur, ascending; the position is the row.
    ids: Vec<u32>,
}

impl Vocabulary {
    /// That of the embedded captions.
    fn embedded() -> &'static Self {
        static EMBEDDED: OnceLock<Vocabulary> = OnceLock::new();
        EMBEDDED.get_or_init(|| {
            let lines = include_str!("../assets/mini_vocabulary.txt").lines();
            Self { ids: lines.map(|line| line.parse().expect("a list of numbers")).collect() }
        })
    }

    /// The row that all other ids share.
    fn unknown(&self) -> u32 {
        self.ids.len() as u32
    }

    fn start(&self) -> u32 {
        self.unknown() + 1
    }

    fn end(&self) -> u32 {
        self.unknown() + 2
    }

    fn size(&self) -> usize {
        self.ids.len() + 3
    }

    fn row(&self, id: u32) -> u32 {
        match id {
            START => self.start(),
            END => self.end(),
            _ => self.ids.binary_search(&id).map_or(self.unknown(), |row| row as u32),
        }
    }
}

/// The network on a device.
#[derive(Debug, Clone)]
struct MiniText {
    network: ClipText,
    tokens: usize,
    device: Device,
}

impl MiniText {
    fn output(&self, captions: Vec<Vec<u32>>) -> Conditioning {
        let (vocabulary, shape) = (Vocabulary::embedded(), [captions.len(), self.tokens]);
        let rows: Vec<i64> = captions.into_iter().flatten().map(|id| i64::from(vocabulary.row(id))).collect();
        let data = TensorData::new(rows, shape);
        let output = self.network.forward(Tensor::<2, Int>::from_data(data, &self.device));
        Conditioning::new(output.last_hidden_state, output.pooled)
    }
}

/// Its parameters are those of the transformer under their own names.
impl Network for MiniText {
    fn for_each_parameter(&self, f: &mut dyn FnMut(&str, &[usize], Tensor<1>)) {
        self.network.for_each_parameter(f);
    }

    fn for_each_shape(&self, f: &mut dyn FnMut(&str, &[usize])) {
        self.network.for_each_shape(f);
    }

    fn map_parameters(&mut self, f: &mut dyn FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>) {
        self.network.map_parameters(f);
    }

    fn set_parameters(&mut self, f: &mut Fill<'_>) {
        self.network.set_parameters(f);
    }

    fn take_gradients(&self, gradients: &mut Gradients) -> std::collections::BTreeMap<String, Tensor<1>> {
        self.network.take_gradients(gradients)
    }
}

impl TextNetwork for MiniText {
    fn encode(&self, captions: &[String]) -> Conditioning {
        let tokenizer = ClipBpe::shared();
        self.output(captions.iter().map(|caption| tokenizer.padded(caption, self.tokens, END)).collect())
    }

    fn encode_windows(&self, caption: &str) -> Conditioning {
        self.output(ClipBpe::shared().windows(caption, self.tokens, END)).joined()
    }

    fn left_out(&self, caption: &str) -> Option<String> {
        ClipBpe::shared().left_out(caption, self.tokens, END)
    }

    fn frozen(&self) -> Box<dyn TextNetwork> {
        let device = self.device.clone().without_autodiff();
        Box::new(Self { network: frozen(&self.network), tokens: self.tokens, device })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use add_plugin::{Plugin, Split, parameter_count};
    use data::Emoji;
    use ron::extensions::Extensions;

    use super::*;

    /// Every caption of the embedded set.
    fn captions() -> BTreeSet<String> {
        let emoji = Emoji::new(32).expect("a size that there is");
        let splits = [Split::Train, Split::TestPair, Split::TestConcept];
        splits.into_iter().flat_map(|split| emoji.captions(split)).flatten().collect()
    }

    /// The list is remade by `UPDATE=1 cargo test --release -p add-plugins-text-encoders vocabulary`.
    #[test]
    fn the_vocabulary_is_that_of_the_embedded_captions() {
        let tokenizer = ClipBpe::shared();
        let ids: BTreeSet<u32> = captions().iter().flat_map(|caption| tokenizer.ids(caption)).collect();
        let list = ids.iter().map(u32::to_string).collect::<Vec<_>>().join("\n") + "\n";
        if std::env::var_os("UPDATE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/mini_vocabulary.txt");
            std::fs::write(path, &list).expect("the source tree is writable");
        } else {
            assert_eq!(list, include_str!("../assets/mini_vocabulary.txt"));
        }
    }

    #[test]
    fn nearly_every_caption_fits_whole() {
        let tokenizer = ClipBpe::shared();
        let lengths: Vec<usize> = captions().iter().map(|c| tokenizer.ids(c).len() + 2).collect();
        let cut = lengths.iter().filter(|&&n| n > Mini::default().tokens).count();
        // A caption that is cut loses its style. At 16 tokens 3.8% would be.
        assert!(cut * 500 < lengths.len(), "{cut} of {} are cut", lengths.len());
    }

    fn network(device: &Device) -> Box<dyn TextNetwork> {
        Mini::default().init(3, device).expect("valid")
    }

    fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
        tensor.to_data().iter::<f32>().collect()
    }

    fn strings<const N: usize>(captions: [&str; N]) -> Vec<String> {
        captions.map(str::to_owned).to_vec()
    }

    #[test]
    fn names_are_those_of_transformers() {
        let mut names = Vec::new();
        network(&Device::flex())
            .for_each_shape(&mut |name, shape| names.push((name.to_owned(), shape.to_vec())));
        let find = |name: &str| names.iter().find(|(n, _)| n == name).map(|(_, shape)| shape.clone());
        assert_eq!(find("text_model.encoder.layers.1.self_attn.q_proj.weight"), Some(vec![128, 128]));
        assert_eq!(find("text_model.embeddings.position_embedding.weight"), Some(vec![20, 128]));
        let rows = Vocabulary::embedded().size();
        assert_eq!(find("text_model.embeddings.token_embedding.weight"), Some(vec![rows, 128]));
        assert!(find("text_model.final_layer_norm.bias").is_some());
    }

    #[test]
    fn pooled_is_the_state_at_the_end_of_the_text() {
        let conditioning = network(&Device::flex()).encode(&strings(["apple", ""]));
        assert_eq!(conditioning.tokens.dims(), [2, 20, 128]);
        // Start, one token, end: position 2; start, end: position 1.
        for (row, end) in [(0, 2), (1, 1)] {
            let state = conditioning.tokens.clone().slice([row..row + 1, end..end + 1, 0..128]);
            assert_eq!(values(&conditioning.pooled.clone().slice([row..row + 1, 0..128])), values(&state));
        }
    }

    #[test]
    fn unknown_words_share_a_row_and_known_ones_do_not() {
        let pooled = |caption: &str| values(&network(&Device::flex()).encode(&strings([caption])).pooled);
        for word in ["economy", "politics"] {
            let ids = ClipBpe::shared().ids(word);
            assert!(ids.len() == 1 && Vocabulary::embedded().row(ids[0]) == Vocabulary::embedded().unknown());
        }
        assert_eq!(pooled("economy"), pooled("politics"));
        assert_ne!(pooled("cat"), pooled("dog"));
    }

    #[test]
    fn gradients_reach_the_words_that_were_read_and_a_frozen_copy_has_none() {
        let network = network(&Device::flex().autodiff());
        let read = strings(["cat"]);
        let mut gradients = network.encode(&read).pooled.square().sum().backward();
        let taken = network.take_gradients(&mut gradients);
        let gradient = values(&taken["text_model.embeddings.token_embedding.weight"]);
        let touched = gradient.chunks(128).filter(|row| row.iter().any(|g| *g != 0.0)).count();
        assert_eq!(touched, 3, "start, cat, end");
        let frozen = network.frozen();
        assert_eq!(parameter_count(&*frozen), parameter_count(&*network));
        let [a, b] = [&network, &frozen].map(|n| n.encode(&read).pooled);
        assert!(a.is_autodiff() && !b.is_autodiff());
        assert_eq!(values(&a.inner()), values(&b));
    }

    #[test]
    fn a_shape_that_cannot_be_is_refused() {
        let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
        for (recipe, part) in [
            ("Mini(heads: 3)", "width 128 in 3 heads"),
            ("Mini(heads: 0)", "0 heads"),
            ("Mini(tokens: 2)", "expected 3 to 77, got 2"),
        ] {
            let mini: Plugin<dyn TextEncoder> = options.from_str(recipe).expect("numbers");
            let error = mini.init(0, &Device::flex()).expect_err(recipe).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
