//! Training methods, one folder each: what its recipe says, its networks, its step, its run.

pub mod add;
pub mod autoencoder;
pub mod consistency;
pub mod diffusion;
mod figures;
mod guidance;
#[cfg(test)]
mod linear;
mod off;
pub mod progressive;

pub use add::Add;
pub use autoencoder::Autoencoder;
pub use consistency::Consistency;
pub use diffusion::Diffusion;
pub use guidance::Guidance;
pub use off::Off;
pub use progressive::Progressive;
