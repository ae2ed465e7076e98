//! Family `DataSource`: captioned pictures by index.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Draw, Labels, PluginError, registry::Family};

/// A source of captioned pictures, as the recipe states it.
pub trait DataSource: Family {
    /// Opens one split. A relative path begins at `base`, the folder of the recipe.
    ///
    /// # Errors
    /// When files are missing or unreadable.
    fn open_beside(&self, split: Split, base: &Path) -> Result<Box<dyn Dataset>, PluginError>;

    /// Opens one split; a relative path begins at the current folder.
    ///
    /// # Errors
    /// As [`open_beside`](Self::open_beside).
    fn open(&self, split: Split) -> Result<Box<dyn Dataset>, PluginError> {
        self.open_beside(split, Path::new(""))
    }

    /// Side of its square pictures, in pixels.
    fn size(&self) -> usize;

    /// The words with which captions name a style, such as `noto emoji`; none where captions name none.
    fn styles(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Which part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// What training sees.
    Train,
    /// A known concept in a style that it was not seen in.
    TestPair,
    /// A concept that was never seen.
    TestConcept,
}

/// An opened split with random access.
pub trait Dataset: Send + Sync {
    /// Number of pictures.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The picture at `index`; `draw` decides the caption variant and any augmentation.
    ///
    /// # Errors
    /// When this sample cannot be decoded.
    fn get(&self, index: usize, draw: &Draw) -> Result<Sample, PluginError>;

    /// A fixed caption of the picture at `index`, without decoding it.
    fn caption(&self, index: usize) -> String;

    /// A text that is another one when the samples are, as far as names and lengths of files tell: a resumed run is held
    /// against it. It does not depend on where the files lie below.
    fn fingerprint(&self) -> String {
        self.len().to_string()
    }

    /// Class labels of the picture at `index` by name of the labelling, where the data has any.
    fn labels(&self, _index: usize) -> Labels {
        Vec::new()
    }
}

/// One captioned picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// `[3, size, size]`, row-major, values in `[-1, 1]`.
    pub pixels: Vec<f32>,
    /// Side in pixels.
    pub size: usize,
    /// The picture's caption.
    pub caption: String,
}
