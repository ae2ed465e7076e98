//! Plugins: codecs.

mod identity;

pub use identity::Identity;
