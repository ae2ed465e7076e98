//! Plugins: codecs.
