//! `add doctor`: what a file or folder of weights is.

use add_core::{error::CoreError, weights::diagnose};
use clap::Args;

use super::print;
use crate::Outcome;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// A safetensors file, an index of shards, a folder, or an hf:// place that is in the cache.
    place: String,
}

impl Doctor {
    /// Exit with code 1 when a problem prevents its use.
    pub(crate) fn run(&self) -> Outcome {
        let diagnosis = diagnose(&self.place).map_err(CoreError::Released)?;
        print(&diagnosis.to_string());
        Ok(u8::from(!diagnosis.problems.is_empty()))
    }
}
