//! Plugins: codecs.

mod identity;
mod kl_vae;
mod mini_vae;
mod tiny_vae;

pub use identity::Identity;
pub use kl_vae::KlVae;
pub use mini_vae::{MiniVae, MiniVaeWeights};
pub use tiny_vae::TinyVae;
