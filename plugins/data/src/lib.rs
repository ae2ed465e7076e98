//! Plugins: data.
