//! Plugins: the denoisers that student and teacher are made of.
//!
//! All are the one [`UNet2dCondition`](add_nn::unet::UNet2dCondition); a plugin is a configuration of it.

mod mini;
mod stable_diffusion;
mod unet;

pub use mini::Mini;
pub use stable_diffusion::{Sd15, Sd21, Sdxl};
