//! Plugins: samplers.
