//! DINO, small.

use super::{dino_config, trained};
use crate::vit::{Released, vit_plugin};

vit_plugin!(
    MiniDino,
    "A small DINO: 1.2 M parameters, trained on the embedded emoji without captions or labels.",
    source: "Caron et al. 2021, algorithm 1, small",
    weights: "A file such as `configs/weights/emoji-dino.safetensors`, which the example `train_mini_dino` of this crate makes.",
    size: "Side of the pictures in pixels, a multiple of 8." = 64
);

impl MiniDino {
    #[expect(clippy::unused_self, reason = "other families have several shapes")]
    fn released(&self) -> Released {
        trained("mini-dino", dino_config())
    }
}
