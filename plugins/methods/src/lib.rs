//! Training methods, one folder each: what its recipe says, its networks, its step, its run.

pub mod add;
pub mod diffusion;
mod off;

pub use add::Add;
pub use diffusion::Diffusion;
pub use off::Off;
