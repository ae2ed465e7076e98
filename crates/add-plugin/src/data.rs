//! Family `DataSource`: captioned pictures by index.

use serde::{Deserialize, Serialize};

use crate::{Draw, Labels, PluginError, registry::Family};

/// A source of captioned pictures, as the recipe states it.
pub trait DataSource: Family {
    /// Opens one split.
    ///
    /// # Errors
    /// When files are missing or unreadable.
    fn open(&self, split: Split) -> Result<Box<dyn Dataset>, PluginError>;

    /// Side of its square pictures, in pixels.
    fn size(&self) -> usize;
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
