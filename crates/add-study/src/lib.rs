//! Preference studies: people see the pictures of two models for one caption and say which they prefer, as in section 4.2 of
//! the ADD paper (Figs. 5 to 7).
//!
//! - [`make`] turns folders of pictures into the folder of a study, in which no name tells a model;
//! - [`serve`] shows pairs in random order and on random sides, and keeps votes in a file that a crash does not harm;
//! - [`report`] turns votes into shares, Elo ratings and Bradley-Terry strengths with their intervals.

mod ballots;
mod book;
mod error;
mod folder;
mod make;
mod order;
pub mod report;
mod site;
mod vote;

pub use ballots::Ballots;
pub use book::{Book, VOTES, read_votes};
pub use error::StudyError;
pub use folder::{MODELS, Model, STUDY, Study};
pub use make::{Make, make};
pub use site::{Site, serve};
pub use vote::{Choice, Vote};
