//! CLIP's image tower, small.

use super::{clip_config, trained};
use crate::vit::{Released, vit_plugin};

vit_plugin!(
    MiniClip,
    "A small image tower of CLIP: 1.2 M parameters, trained on the embedded emoji and their captions.",
    source: "Radford et al. 2021, figure 3, small",
    weights: "A file such as `configs/weights/emoji-clip.safetensors`, which the example `train_mini_clip` of this crate makes.",
    size: "Side of the pictures in pixels, a multiple of 8." = 64
);

impl MiniClip {
    #[expect(clippy::unused_self, reason = "other families have several shapes")]
    fn released(&self) -> Released {
        trained("mini-clip", clip_config())
    }
}
