//! Training: the alternating step of Adversarial Diffusion Distillation, diffusion pretraining, EMA, checkpoints.
//!
//! This crate names no plugin. [`add_step`] and [`diffusion_step`] hold the two objectives, each a function of
//! explicit random numbers; [`run`] is the loop around either.

pub mod add_inputs;
mod add_part;
pub mod add_step;
pub mod checkpoint;
pub mod diffusion_step;
pub mod distance;
pub mod ema;
mod error;
pub mod folder;
pub mod gradients;
pub mod health;
pub mod model;
pub mod noise;
pub mod optimizer;
pub mod ranks;
pub mod report;
pub mod run;
pub mod shards;
pub mod simulation;
pub mod state;
mod sum;
pub mod teacher;

pub use error::TrainError;
