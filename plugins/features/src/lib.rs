//! Plugins: frozen feature networks, and the judge of caption accuracy, which no loss sees.

mod blocks;
mod clip;
mod dino_v1;
mod dino_v2;
mod inception_v3;
pub mod judge;
pub mod mini;
mod mobilenet_v2;
mod normalise;
mod transformer;
mod vit;

pub use blocks::Blocks;
pub use clip::{Clip, ClipModel};
pub use dino_v1::DinoV1;
pub use dino_v2::{DinoV2, DinoV2Model};
pub use inception_v3::InceptionV3;
pub use judge::EmojiJudge;
pub use mini::{MiniClip, MiniDino};
pub use mobilenet_v2::{MobileNetV2, WEIGHTS as MOBILENET_V2_WEIGHTS};
