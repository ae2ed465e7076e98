//! No data: for recipes that only sample released models.

use std::path::Path;

use add_plugin::{DataSource, Dataset, Entry, PluginError, Split, inventory};
use serde::{Deserialize, Serialize};

/// Nothing to train on; it says how large the pictures are that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Off {
    /// Side of the pictures, in pixels.
    pub size: usize,
}

inventory::submit!(Entry::data_source::<Off>("Off", "no data"));

impl DataSource for Off {
    fn open_beside(&self, _split: Split, _base: &Path) -> Result<Box<dyn Dataset>, PluginError> {
        let problem =
            "this recipe has no data; name a data source, such as ImageFolder(path: \"...\", size: 512)";
        Err(PluginError::Field { field: "data", problem: problem.to_owned() })
    }

    fn size(&self) -> usize {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_it_says_what_to_do() {
        let Err(error) = Off { size: 512 }.open(Split::Train) else { panic!("there is none") };
        assert!(error.to_string().contains("ImageFolder"), "{error}");
    }
}
