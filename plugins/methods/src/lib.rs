//! Training methods, one folder each: what its recipe says, its networks, its step, its run.

pub mod add;
pub mod consistency;
mod contrast;
mod critic;
mod cut;
pub mod diffusion;
mod distilled;
pub mod dmd2;
mod guidance;
mod latent_discriminator;
#[cfg(test)]
mod linear;
mod off;
pub mod progressive;
mod student;

pub use add::Add;
pub use consistency::Consistency;
pub use diffusion::Diffusion;
pub use distilled::Distilled;
pub use dmd2::Dmd2;
pub use guidance::Guidance;
pub use off::Off;
pub use progressive::Progressive;
