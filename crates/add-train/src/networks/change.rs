//! Whether and how a run changes a network.

use super::Role;
use crate::{ema::Home, optimizer::AdamWConfig};

/// How a network is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Training {
    /// The optimiser that moves it, by the name of its file in a checkpoint; several networks may share one.
    pub optimizer: &'static str,
    /// The optimiser's hyper-parameters.
    pub config: AdamWConfig,
    /// The file of a checkpoint that holds the network.
    pub file: &'static str,
    /// What its parameters' names begin with among those of its optimiser; empty where the optimiser has no other network.
    pub prefix: &'static str,
    /// Its running average, if there is one. Networks of one optimiser share it.
    pub average: Option<Averaging>,
}

/// A running average of trained values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Averaging {
    /// Its file in a checkpoint.
    pub file: &'static str,
    /// After so many images an old value counts half.
    pub half_life: f64,
    /// Where it lies.
    pub home: Home,
}

/// Whether and how a run changes a network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// It stays as it is.
    Frozen,
    /// An optimiser moves it.
    Trained(Training),
    /// It is frozen within a step; now and then the run gives it other values, which a checkpoint keeps in this file.
    Replaced(&'static str),
    /// It is frozen within a step; after every update it is the running average of the network of this role.
    Follows(Role),
}

impl Change {
    /// How an optimiser moves it.
    pub fn training(self) -> Option<Training> {
        match self {
            Self::Trained(training) => Some(training),
            Self::Frozen | Self::Replaced(_) | Self::Follows(_) => None,
        }
    }

    /// The file of a checkpoint that holds its values.
    pub(super) fn file(self) -> Option<&'static str> {
        match self {
            Self::Trained(training) => Some(training.file),
            Self::Replaced(file) => Some(file),
            Self::Frozen | Self::Follows(_) => None,
        }
    }
}
