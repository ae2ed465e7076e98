//! Plugins: text-encoders.
