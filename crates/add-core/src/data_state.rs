//! Whether a resumed run meets the data that it began with. The order of an epoch follows from the number of samples, so
//! with another number the run goes on, but not to where it would have come.

use add_plugin::Dataset;
use add_train::{checkpoint, folder::RunFolder, run::StartFrom};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::error::CoreError;

/// The file in a run folder.
const FILE: &str = "data.json";
/// Largest such file, in bytes.
const MOST: u64 = 4096;

/// What is remembered of a run's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataState {
    /// Number of samples.
    samples: usize,
    /// Follows from their names and lengths.
    fingerprint: String,
}

impl DataState {
    /// That of opened data.
    pub(crate) fn of(data: &dyn Dataset) -> Self {
        Self { samples: data.len(), fingerprint: data.fingerprint() }
    }

    /// Says that the data has changed since the run in `folder` was last trained, and remembers how it is now.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn compare(&self, folder: &RunFolder, start: &StartFrom) -> Result<(), CoreError> {
        let path = folder.path().join(FILE);
        let before =
            add_files::read(&path, MOST).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        // Where there is no checkpoint, nothing was trained on what was there before.
        let goes_on = *start != StartFrom::Fresh && !checkpoint::list(&folder.checkpoints()).is_empty();
        if let Some(before) = before.filter(|before| goes_on && before != self) {
            let numbers = if before.samples == self.samples {
                format!("{} samples as before, but not the same ones", self.samples)
            } else {
                format!("{} samples, {} before", self.samples, before.samples)
            };
            warn!(
                "data: it has changed since this run was last trained ({numbers}): the run goes on with what is there \
                 now, and comes out otherwise than it would have"
            );
        }
        let text = serde_json::to_string(self).expect("a number and a text are JSON");
        Ok(folder.write(FILE, &text)?)
    }
}
