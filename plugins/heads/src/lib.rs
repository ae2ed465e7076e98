//! Plugins: discriminator heads.

mod batch_norm_local;
mod head;
mod projected;
mod spectral_conv;

pub use projected::{ProjectedHead, ProjectedHeads, stylegan_t_name};
