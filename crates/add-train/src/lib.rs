//! What every training method is made of: networks with their optimisers and averages, batches in parts, ranks,
//! checkpoints, and the loop.
//!
//! This crate names no method and no plugin. [`networks`] owns what a run changes; [`run`] is the loop around a method.

pub mod checkpoint;
pub mod distance;
pub mod ema;
mod error;
mod events;
pub mod folder;
pub mod gradients;
pub mod health;
pub mod networks;
pub mod noise;
pub mod optimizer;
pub mod process;
pub mod ranks;
pub mod replicas;
pub mod report;
pub mod run;
pub mod state;
pub mod sum;
pub mod teacher;

pub use error::TrainError;
