//! The umbrella: linking this crate links every plugin, so that `inventory` sees them all; a program finds their types here.
#![deny(unused_crate_dependencies)]

#[cfg(test)]
use build_features as _;

pub use backbones;
pub use codecs;
pub use critics;
pub use data;
pub use features;
pub use heads;
pub use methods;
pub use metrics;
pub use samplers;
pub use schedules;
pub use text_encoders;
pub use weightings;
