//! Plugins: features.
