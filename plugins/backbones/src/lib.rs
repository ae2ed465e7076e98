//! Plugins: backbones.
