//! Plugins: weightings.
