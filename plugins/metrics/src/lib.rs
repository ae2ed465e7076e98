//! Plugins: metrics.
