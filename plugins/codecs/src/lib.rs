//! Plugins: codecs.

mod identity;
mod kl_vae;
mod tiny_vae;

pub use identity::Identity;
pub use kl_vae::KlVae;
pub use tiny_vae::TinyVae;
