//! Training methods, one folder each: what its recipe says, its networks, its step, its run.

pub mod add;
pub mod autoencoder;
pub mod cfg_aware;
pub mod consistency;
mod contrast;
mod critic;
mod cut;
pub mod diffusion;
pub mod diffusion_gan;
mod distilled;
pub mod dmd2;
mod guidance;
mod latent_discriminator;
#[cfg(test)]
mod linear;
mod off;
pub mod progressive;
pub mod reflow;
mod stages;
mod student;

pub use add::Add;
pub use autoencoder::Autoencoder;
pub use cfg_aware::CfgAware;
pub use consistency::Consistency;
pub use diffusion::Diffusion;
pub use diffusion_gan::DiffusionGan;
pub use distilled::Distilled;
pub use dmd2::Dmd2;
pub use guidance::Guidance;
pub use off::Off;
pub use progressive::Progressive;
pub use reflow::Reflow;
