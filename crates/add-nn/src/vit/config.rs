//! Shapes of the vision transformers whose weights are published.

use serde::{Deserialize, Serialize};

use super::position::PositionResize;
use crate::{
    config::{ConfigError, require},
    layers::Activation,
};

/// Shape and options of a [`Vit`](super::Vit).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitConfig {
    /// Side of the square pictures that the position table was trained on, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Width of the tokens.
    pub channels: usize,
    /// Number of layers.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width between the two linear maps of a layer.
    pub inner: usize,
    /// The nonlinearity.
    pub activation: Activation,
    /// Added to the variance in the normalisations.
    pub eps: f64,
    /// Register tokens after the class token.
    pub registers: usize,
    /// Start of the layer scales, if there are any.
    pub layer_scale: Option<f32>,
    /// What surrounds the layers.
    pub family: VitFamily,
    /// How the position table is resized; a property of the weights.
    pub resize: PositionResize,
}

/// What surrounds the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VitFamily {
    /// Patches with a bias, no norm before the first layer.
    Dino,
    /// Patches without a bias, a norm before the first layer, and a projection of the class token.
    Clip {
        /// Width of the projected class token.
        projection: usize,
    },
}

impl VitConfig {
    /// DINO ViT-S/16. Caron et al. 2021.
    pub fn dino_s16() -> Self {
        let (image_size, patch_size, resize) = (224, 16, PositionResize::HubOffset);
        Self { image_size, patch_size, layer_scale: None, resize, ..Self::dinov2_s14() }
    }

    /// `DINOv2` ViT-S/14. Oquab et al. 2023.
    pub fn dinov2_s14() -> Self {
        Self {
            image_size: 518,
            patch_size: 14,
            channels: 384,
            depth: 12,
            heads: 6,
            inner: 1536,
            activation: Activation::Gelu,
            eps: 1e-6,
            registers: 0,
            layer_scale: Some(1e-5),
            family: VitFamily::Dino,
            resize: PositionResize::HubOffset,
        }
    }

    /// `DINOv2` ViT-L/14. Oquab et al. 2023.
    pub fn dinov2_l14() -> Self {
        Self { channels: 1024, depth: 24, heads: 16, inner: 4096, ..Self::dinov2_s14() }
    }

    /// The same with four register tokens. Darcet et al. 2023.
    #[must_use]
    pub fn with_registers(self) -> Self {
        Self { registers: 4, resize: PositionResize::Antialiased, ..self }
    }

    /// CLIP ViT-L/14 of `OpenAI`. Radford et al. 2021.
    pub fn clip_l14() -> Self {
        Self {
            image_size: 224,
            activation: Activation::QuickGelu,
            eps: 1e-5,
            layer_scale: None,
            family: VitFamily::Clip { projection: 768 },
            resize: PositionResize::Cubic,
            ..Self::dinov2_l14()
        }
    }

    /// CLIP ViT-B/32 of `OpenAI`. Radford et al. 2021.
    pub fn clip_b32() -> Self {
        Self {
            patch_size: 32,
            channels: 768,
            depth: 12,
            heads: 12,
            inner: 3072,
            family: VitFamily::Clip { projection: 512 },
            ..Self::clip_l14()
        }
    }

    /// OpenCLIP's ViT-H/14. Cherti et al. 2023.
    pub fn open_clip_h14() -> Self {
        Self { channels: 1280, depth: 32, inner: 5120, ..Self::open_clip_g14() }
    }

    /// OpenCLIP's ViT-g/14. Cherti et al. 2023.
    pub fn open_clip_g14() -> Self {
        Self {
            channels: 1408,
            depth: 40,
            heads: 16,
            // 4.3637 widths, rounded down.
            inner: 6144,
            activation: Activation::Gelu,
            family: VitFamily::Clip { projection: 1024 },
            resize: PositionResize::Antialiased,
            ..Self::clip_l14()
        }
    }

    /// Side of the position table's grid.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Checks that a network can be built.
    ///
    /// # Errors
    /// Names the first field whose value does not fit the others.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (field, value) in [
            ("patch_size", self.patch_size),
            ("channels", self.channels),
            ("heads", self.heads),
            ("inner", self.inner),
        ] {
            require(value > 0, field, "a positive number", value)?;
        }
        require(self.grid() > 0, "image_size", format!("at least {}", self.patch_size), self.image_size)?;
        let divides = self.channels.is_multiple_of(self.heads);
        require(divides, "heads", format!("a divisor of channels = {}", self.channels), self.heads)
    }
}
