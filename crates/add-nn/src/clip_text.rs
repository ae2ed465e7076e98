//! The text transformer of CLIP: causal self-attention over token embeddings. Radford et al. 2021.
//!
//! Names and numbers are those of transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`. What a diffusion
//! model takes from it differs: SD1.5 `last_hidden_state`; SD2.1 the same of a 23-layer model; SDXL
//! `hidden_states[n - 1]` (no final norm) of two encoders and `text_embeds` of the second.

use burn::{
    module::Module,
    tensor::{Bool, Int, Tensor},
};
use serde::{Deserialize, Serialize};

use crate::{
    config::{ConfigError, require},
    layers::{Activation, Embedding, EncoderLayer, EncoderOptions, Init, LayerNorm, Linear},
};

/// `eos_token_id` of the files made before transformers 4.24: the end of the text is then the largest id.
const LEGACY_EOS: i64 = 2;
/// Deviation of fresh embeddings. Radford et al. 2021.
const EMBEDDING_STD: f64 = 0.02;

/// Shape and options of a [`ClipText`]. Reads transformers' `config.json`; defaults are those of ViT-L/14.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// `CLIPTextModelWithProjection` adds a projection of the pooled state.
    pub architectures: Vec<String>,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of the tokens.
    pub hidden_size: usize,
    /// Width between the two linear maps of a layer.
    pub intermediate_size: usize,
    /// Width of the projected pooled state.
    pub projection_dim: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Longest text in tokens.
    pub max_position_embeddings: usize,
    /// The nonlinearity.
    pub hidden_act: Activation,
    /// Added to the variance in the normalisations.
    pub layer_norm_eps: f64,
    /// Id of the end of the text; 2 means the largest id of each text, whatever the tokenizer's end is.
    pub eos_token_id: i64,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            architectures: vec!["CLIPTextModel".to_owned()],
            vocab_size: 49_408,
            hidden_size: 768,
            intermediate_size: 3072,
            projection_dim: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: LEGACY_EOS,
        }
    }
}

impl ClipTextConfig {
    /// The text tower of an `OpenCLIP` model: exact GELU. ViT-H/14 is (1024, 24, 16), ViT-g/14 (1024, 24, 16),
    /// ViT-bigG/14 (1280, 32, 20).
    pub fn open_clip(width: usize, layers: usize, heads: usize) -> Self {
        Self {
            hidden_size: width,
            intermediate_size: 4 * width,
            projection_dim: width,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            hidden_act: Activation::Gelu,
            ..Self::default()
        }
    }

    /// The same with a projection of the pooled state.
    #[must_use]
    pub fn projected(self) -> Self {
        Self { architectures: vec!["CLIPTextModelWithProjection".to_owned()], ..self }
    }

    /// Whether the pooled state is projected.
    pub fn has_projection(&self) -> bool {
        self.architectures.iter().any(|name| name.ends_with("WithProjection"))
    }

    /// Checks that a network can be built.
    ///
    /// # Errors
    /// Names the first field whose value does not fit the others.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (field, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("projection_dim", self.projection_dim),
            ("num_attention_heads", self.num_attention_heads),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            require(value > 0, field, "a positive number", value)?;
        }
        let divides = self.hidden_size.is_multiple_of(self.num_attention_heads);
        let expected = format!("a divisor of hidden_size = {}", self.hidden_size);
        require(divides, "num_attention_heads", expected, self.num_attention_heads)
    }
}

/// What the encoder makes of `B` texts of `N` tokens.
#[derive(Debug, Clone)]
pub struct ClipTextOutput {
    /// The embeddings and the state after every layer, each `[B, N, C]`, without the final norm.
    pub hidden_states: Vec<Tensor<3>>,
    /// The last state after the final norm, `[B, N, C]`.
    pub last_hidden_state: Tensor<3>,
    /// `last_hidden_state` at the end of each text, `[B, C]`.
    pub pooled: Tensor<2>,
    /// The projected `pooled`, `[B, C_projection]`.
    pub text_embeds: Option<Tensor<2>>,
}

/// The text encoder.
#[derive(Module, Debug)]
pub struct ClipText {
    text_model: TextModel,
    text_projection: Option<Linear>,
    #[module(skip)]
    eos_token_id: i64,
}

impl ClipText {
    /// A network with fresh values.
    ///
    /// # Errors
    /// When the configuration does not hold together.
    pub fn new(config: &ClipTextConfig, init: &Init) -> Result<Self, ConfigError> {
        config.check()?;
        let (width, projected) = (config.hidden_size, config.projection_dim);
        let projection = || Linear::without_bias(width, projected, &init.at("text_projection"));
        Ok(Self {
            text_model: TextModel::new(config, &init.at("text_model")),
            text_projection: config.has_projection().then(projection),
            eos_token_id: config.eos_token_id,
        })
    }

    /// `ids: [B, N]`, each below the size of the vocabulary, `N` at most the longest text.
    pub fn forward(&self, ids: Tensor<2, Int>) -> ClipTextOutput {
        let end = self.ends(ids.clone());
        let (hidden_states, last_hidden_state) = self.text_model.forward(ids);
        let [b, _, c] = last_hidden_state.dims();
        let at_end = end.reshape([b, 1, 1]).expand([b, 1, c]);
        let pooled: Tensor<2> = last_hidden_state.clone().gather(1, at_end).squeeze_dim(1);
        let text_embeds = self.text_projection.as_ref().map(|linear| linear.forward_rows(pooled.clone()));
        ClipTextOutput { hidden_states, last_hidden_state, pooled, text_embeds }
    }

    /// Position of the first end-of-text token of each row, `[B, 1]`; 0 where there is none.
    fn ends(&self, ids: Tensor<2, Int>) -> Tensor<2, Int> {
        let n = ids.dims()[1] as i64;
        let marks =
            if self.eos_token_id == LEGACY_EOS { ids } else { ids.equal_elem(self.eos_token_id).int() };
        // Padding may repeat the end: make the first of equal marks the only largest.
        let earliness = Tensor::<1, Int>::arange(0..n, &marks.device()).mul_scalar(-1).add_scalar(n - 1);
        (marks * n + earliness.unsqueeze()).argmax(1)
    }
}

#[derive(Module, Debug)]
struct TextModel {
    embeddings: Embeddings,
    encoder: Encoder,
    final_layer_norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Embeddings {
    token_embedding: Embedding,
    position_embedding: Embedding,
}

#[derive(Module, Debug)]
struct Encoder {
    layers: Vec<EncoderLayer>,
}

impl TextModel {
    fn new(config: &ClipTextConfig, init: &Init) -> Self {
        let options = EncoderOptions {
            channels: config.hidden_size,
            heads: config.num_attention_heads,
            inner: config.intermediate_size,
            eps: config.layer_norm_eps,
            activation: config.hidden_act,
            layer_scale: None,
        };
        let table = |rows, name| Embedding::new(rows, config.hidden_size, EMBEDDING_STD, &init.at(name));
        let layer = |i| EncoderLayer::new(options, &init.at("encoder.layers").at(i));
        Self {
            embeddings: Embeddings {
                token_embedding: table(config.vocab_size, "embeddings.token_embedding"),
                position_embedding: table(config.max_position_embeddings, "embeddings.position_embedding"),
            },
            encoder: Encoder { layers: (0..config.num_hidden_layers).map(layer).collect() },
            final_layer_norm: LayerNorm::new(
                config.hidden_size,
                config.layer_norm_eps,
                &init.at("final_layer_norm"),
            ),
        }
    }

    fn forward(&self, ids: Tensor<2, Int>) -> (Vec<Tensor<3>>, Tensor<3>) {
        let [_, n] = ids.dims();
        let positions = self.embeddings.position_embedding.weight.val().narrow(0, 0, n);
        let mask = later(n, &ids);
        let mut x = self.embeddings.token_embedding.forward(ids) + positions.unsqueeze();
        let mut states = vec![x.clone()];
        for layer in &self.encoder.layers {
            x = layer.forward(x, Some(&mask));
            states.push(x.clone());
        }
        (states, self.final_layer_norm.forward(x))
    }
}

/// True where the key comes after the query, `[1, 1, N, N]`.
fn later(n: usize, like: &Tensor<2, Int>) -> Tensor<4, Bool> {
    let positions = Tensor::<1, Int>::arange(0..n as i64, &like.device());
    let keys = positions.clone().reshape([1, n]).expand([n, n]);
    let queries = positions.reshape([n, 1]).expand([n, n]);
    keys.greater(queries).unsqueeze()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn tiny(eos_token_id: i64) -> ClipText {
        let config = ClipTextConfig {
            vocab_size: 20,
            hidden_size: 8,
            intermediate_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            max_position_embeddings: 6,
            eos_token_id,
            ..ClipTextConfig::default()
        };
        ClipText::new(&config, &Init::new(5, &Device::flex())).expect("valid")
    }

    fn ids(rows: [[i64; 5]; 2]) -> Tensor<2, Int> {
        Tensor::from_data(rows, &Device::flex())
    }

    #[test]
    fn a_token_does_not_see_later_ones() {
        let run = |last| tiny(19).forward(ids([[1, 2, 3, 4, last], [1, 2, 3, 4, last]])).last_hidden_state;
        let difference = (run(5) - run(6)).abs();
        let early = difference.clone().narrow(1, 0, 4).max().into_scalar::<f32>();
        let late = difference.narrow(1, 4, 1).max().into_scalar::<f32>();
        assert!(early == 0.0 && late > 1e-3, "{early} {late}");
    }

    #[test]
    fn the_end_is_the_first_end_token_or_the_largest_id() {
        let rows = ids([[1, 9, 9, 0, 0], [1, 5, 4, 7, 9]]);
        let ends = |eos| tiny(eos).ends(rows.clone()).into_data().try_to_vec::<i64>().expect("i64");
        assert_eq!(ends(9), [1, 4]);
        assert_eq!(ends(LEGACY_EOS), [1, 4]);
        assert_eq!(ends(7), [0, 3]);
    }
}
