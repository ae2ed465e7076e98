//! Plugins: text encoders.

mod clean;
mod clip;
mod clip_bpe;
mod clip_l;
mod clip_l_big_g;
mod mini;
mod mojibake;
mod open_clip_g;
mod open_clip_h;
mod pooled_from;
mod projected;
mod released;

#[cfg(test)]
mod tests;

pub use clip::{Clip, ClipModel};
pub use clip_bpe::{ClipBpe, END, START};
pub use clip_l::ClipL;
pub use clip_l_big_g::{ClipLBigG, EmptyCaption};
pub use mini::Mini;
pub use open_clip_g::OpenClipG;
pub use open_clip_h::OpenClipH;
pub use pooled_from::PooledFrom;
