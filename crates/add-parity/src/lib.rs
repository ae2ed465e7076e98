//! Fixtures made by the reference libraries, and the comparison of this project's numbers with them.
//!
//! [`find`] lists the fixtures of a folder, [`run`] compares one and returns a row for each of its tensors. Every
//! size, name and number of cases is read from the files, so that fixtures of other seeds and widths run unchanged.
//! A family is one module of this crate, named as the folder that holds its fixtures: see [`families`].
//! What a fixture expects and nobody computes is a row too: left out with its reason, or failed.

pub mod families;

mod error;
mod find;
mod fixture;
mod formula;
mod full;
mod json;
mod row;
mod run;

mod losses;
mod metrics;
mod mobilenet_v2;
mod openclip;
mod sched;
mod tables;
mod text;
mod tokens;
mod train;
mod unet;
mod vae;
mod vit;

pub use error::ParityError;
pub use find::{Found, find};
pub use fixture::{Fixture, Numbers};
pub use full::{Full, Timing, run as run_full};
pub use row::{Outcome, ParityRow};
pub use run::run;
