//! A pair of an image and a text tower in one space: CLIP score, and the text embedding for the heads.
//!
//! Radford et al. 2021, Cherti et al. 2023; configurations and numbers are those of `open_clip`.

use burn::{
    module::{Module, Param},
    tensor::{Int, Tensor},
};
use serde::{Deserialize, Serialize};

use crate::{
    clip_text::{ClipText, ClipTextConfig},
    config::{ConfigError, require},
    layers::{Activation, Init},
    vit::{PositionResize, Vit, VitConfig, VitFamily},
};

/// `open_clip`'s `model_cfg`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenClipConfig {
    /// Width of the common space.
    pub embed_dim: usize,
    /// The image tower.
    pub vision_cfg: VisionConfig,
    /// The text tower.
    pub text_cfg: TextConfig,
    /// `OpenAI`'s approximation of GELU in both towers.
    #[serde(default)]
    pub quick_gelu: bool,
}

/// Shape of the image tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VisionConfig {
    /// Side of the pictures in pixels.
    pub image_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Width of the tokens.
    pub width: usize,
    /// Width of one attention head.
    #[serde(default = "head_width")]
    pub head_width: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Width between a layer's linear maps, in token widths, rounded down.
    #[serde(default = "mlp_ratio")]
    pub mlp_ratio: f64,
}

/// Shape of the text tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextConfig {
    /// Longest text in tokens.
    pub context_length: usize,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of the tokens.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Number of layers.
    pub layers: usize,
    /// Width between a layer's linear maps, in token widths, rounded down.
    #[serde(default = "mlp_ratio")]
    pub mlp_ratio: f64,
}

fn head_width() -> usize {
    64
}

fn mlp_ratio() -> f64 {
    4.0
}

impl OpenClipConfig {
    /// `open_clip`'s `ViT-g-14`. Cherti et al. 2023.
    pub fn vit_g_14() -> Self {
        Self {
            embed_dim: 1024,
            vision_cfg: VisionConfig {
                image_size: 224,
                layers: 40,
                width: 1408,
                head_width: 88,
                patch_size: 14,
                mlp_ratio: 4.3637,
            },
            text_cfg: TextConfig {
                context_length: 77,
                vocab_size: 49_408,
                width: 1024,
                heads: 16,
                layers: 24,
                mlp_ratio: 4.0,
            },
            quick_gelu: false,
        }
    }

    fn activation(&self) -> Activation {
        if self.quick_gelu { Activation::QuickGelu } else { Activation::Gelu }
    }

    fn vision(&self) -> Result<VitConfig, ConfigError> {
        let VisionConfig { image_size, layers, width, head_width, patch_size, mlp_ratio } = self.vision_cfg;
        let divides = head_width > 0 && width.is_multiple_of(head_width);
        require(divides, "vision_cfg.head_width", format!("a divisor of width = {width}"), head_width)?;
        Ok(VitConfig {
            image_size,
            patch_size,
            channels: width,
            depth: layers,
            heads: width / head_width,
            inner: (width as f64 * mlp_ratio) as usize,
            activation: self.activation(),
            eps: 1e-5,
            registers: 0,
            layer_scale: None,
            family: VitFamily::Clip { projection: self.embed_dim },
            resize: PositionResize::Antialiased,
        })
    }

    fn text(&self) -> ClipTextConfig {
        let TextConfig { context_length, vocab_size, width, heads, layers, mlp_ratio } = self.text_cfg;
        ClipTextConfig {
            architectures: vec!["CLIPTextModelWithProjection".to_owned()],
            vocab_size,
            hidden_size: width,
            intermediate_size: (width as f64 * mlp_ratio) as usize,
            projection_dim: self.embed_dim,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            max_position_embeddings: context_length,
            hidden_act: self.activation(),
            ..ClipTextConfig::default()
        }
    }
}

/// Both towers.
#[derive(Module, Debug)]
pub struct OpenClip {
    visual: Vit,
    text: ClipText,
    logit_scale: Param<Tensor<1>>,
}

impl OpenClip {
    /// A network with fresh values.
    ///
    /// # Errors
    /// When the configuration does not hold together.
    pub fn new(config: &OpenClipConfig, init: &Init) -> Result<Self, ConfigError> {
        Ok(Self {
            visual: Vit::new(&config.vision()?, &init.at("visual"))?,
            text: ClipText::new(&config.text(), &init.at("text"))?,
            // 1 / 0.07. Radford et al. 2021.
            logit_scale: init.constant("logit_scale", [1], (1.0_f32 / 0.07).ln()),
        })
    }

    /// Pictures `[B, 3, H, W]`, already normalised, to `[B, embed_dim]`, not normalised.
    pub fn image_features(&self, x: Tensor<4>) -> Tensor<2> {
        self.visual.image_embedding(x)
    }

    /// Token ids `[B, N]` to `[B, embed_dim]`, not normalised.
    ///
    /// # Panics
    /// Never: the text tower always has its projection.
    pub fn text_features(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        self.text.forward(ids).text_embeds.expect("the configuration asks for a projection")
    }

    /// `exp(logit_scale) * cosine` of every picture with every text: `[images, texts]`.
    pub fn logits_per_image(&self, images: Tensor<2>, texts: Tensor<2>) -> Tensor<2> {
        let cosines = normalise(images).matmul(normalise(texts).transpose());
        cosines * self.logit_scale.val().exp().unsqueeze()
    }
}

fn normalise(x: Tensor<2>) -> Tensor<2> {
    let norm = x.clone().square().sum_dim(1).sqrt();
    x / norm
}
