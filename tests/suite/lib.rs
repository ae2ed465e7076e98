//! The cross-crate suite has tests alone; see `main.rs`.
