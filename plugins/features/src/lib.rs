//! Plugins: frozen feature networks, and the judge of caption accuracy, which no loss sees.

pub mod judge;
mod mobilenet_v2;

pub use judge::EmojiJudge;
pub use mobilenet_v2::MobileNetV2;
