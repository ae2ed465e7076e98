//! Plugins: text encoders.

mod clean;
mod clip_bpe;
mod mini;

pub use clip_bpe::{ClipBpe, END, START};
pub use mini::Mini;
