//! Plugins: heads.
