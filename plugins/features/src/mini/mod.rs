//! Small vision transformers that were trained on the embedded emoji alone, so that the paper's Table 1a can be redone with feature
//! networks of several kinds: [`MiniDino`] by self-distillation without labels, [`MiniClip`] by agreement with captions.

mod clip;
mod dino;

use add_nn::{
    layers::Activation,
    vit::{PositionResize, VitConfig, VitFamily},
};

pub use clip::MiniClip;
pub use dino::MiniDino;

use crate::{normalise::PLAIN, vit::Released};

/// Side of the pictures that both were trained on, in pixels.
pub const SIDE: usize = 64;
/// Width of their tokens, and of `MiniClip`'s embedding.
pub const WIDTH: usize = 128;

/// The shape of `MiniDino`: 65 tokens, six layers, 1.2 M parameters.
pub fn dino_config() -> VitConfig {
    VitConfig {
        image_size: SIDE,
        patch_size: 8,
        channels: WIDTH,
        depth: 6,
        heads: 4,
        inner: 4 * WIDTH,
        activation: Activation::Gelu,
        eps: 1e-6,
        registers: 0,
        layer_scale: None,
        family: VitFamily::Dino,
        resize: PositionResize::Antialiased,
    }
}

/// The shape of `MiniClip`'s image tower, as large.
pub fn clip_config() -> VitConfig {
    VitConfig { family: VitFamily::Clip { projection: WIDTH }, eps: 1e-5, ..dino_config() }
}

fn trained(name: &'static str, config: VitConfig) -> Released {
    Released { name, config, statistics: PLAIN, file: "model.safetensors" }
}
