//! Where a recipe wants something kept that could be computed again.

use std::path::PathBuf;

use add_files::Cache;
use serde::{Deserialize, Serialize};

/// Whether and where to keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// Nothing is kept.
    Off(),
    /// In this folder, from the current one; several runs may share it.
    Folder(PathBuf),
}

impl Default for Keep {
    fn default() -> Self {
        Self::Off()
    }
}

impl Keep {
    /// The cache there.
    pub fn cache(&self) -> Cache {
        match self {
            Self::Off() => Cache::off(),
            Self::Folder(folder) => Cache::folder(folder),
        }
    }
}
