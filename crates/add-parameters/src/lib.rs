//! Every network by the names of its parameters.
//!
//! Optimiser, average, checkpoints, loaders and exporters work on `(dotted path, flat tensor)` pairs, so that none of
//! them knows a network. Any Burn module is a [`Network`] by itself, and there is one rule for its names: [`path`].

mod adapter;
mod network;
pub mod path;

pub use adapter::{DOWN, LoraConfig, UP, is_adapter};
pub use network::{Fill, Network, for_each_own, fork, frozen, has_adapters, parameter_count};
