//! Pictures of one colour each. Replace it by your data, and say where they come from and under which licence.

use std::path::Path;

use add_plugin::{DataSource, Dataset, Draw, Entry, PluginError, Sample, Split, inventory};
use serde::{Deserialize, Serialize};

use crate::sample::check_size;

/// What the pictures and captions are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Skeleton {
    /// Side of the square pictures, in pixels.
    pub(crate) size: usize,
}

/// Each colour's name, and its red, green and blue in `[-1, 1]`.
const COLOURS: [(&str, [f32; 3]); 3] =
    [("red", [1.0, -1.0, -1.0]), ("green", [-1.0, 1.0, -1.0]), ("blue", [-1.0, -1.0, 1.0])];

impl DataSource for Skeleton {
    fn open_beside(&self, split: Split, _base: &Path) -> Result<Box<dyn Dataset>, PluginError> {
        check_size(self.size)?;
        let colours: &[_] = if split == Split::Train { &COLOURS } else { &[] };
        Ok(Box::new(Pictures { colours, size: self.size }))
    }

    fn size(&self) -> usize {
        self.size
    }
}

inventory::submit!(Entry::data_source::<Skeleton>("Skeleton", "where the pictures come from"));

/// An opened split.
struct Pictures {
    colours: &'static [(&'static str, [f32; 3])],
    size: usize,
}

impl Dataset for Pictures {
    fn len(&self) -> usize {
        self.colours.len()
    }

    fn get(&self, index: usize, _draw: &Draw) -> Result<Sample, PluginError> {
        let Some((_, colour)) = self.colours.get(index) else {
            let problem = format!("there are only {} pictures", self.colours.len());
            return Err(PluginError::Sample { index, file: "Skeleton".to_owned(), problem });
        };
        let plane = |value| std::iter::repeat_n(value, self.size * self.size);
        let pixels = colour.iter().copied().flat_map(plane).collect();
        Ok(Sample { pixels, size: self.size, caption: self.caption(index) })
    }

    fn caption(&self, index: usize) -> String {
        self.colours.get(index).map_or_else(String::new, |(name, _)| format!("all {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAW: Draw = Draw { seed: 1, step: 0, index: 0 };

    #[test]
    fn a_picture_has_the_stated_size_and_its_caption() {
        let split = Skeleton { size: 2 }.open(Split::Train).unwrap();
        assert_eq!(split.len(), 3);
        let sample = split.get(1, &DRAW).unwrap();
        let expected = [[-1.0; 4], [1.0; 4], [-1.0; 4]].concat();
        assert_eq!((sample.pixels, sample.caption.as_str()), (expected, "all green"));
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert!(Skeleton { size: 2 }.open(Split::Train).unwrap().get(3, &DRAW).is_err());
        assert!(Skeleton { size: 0 }.open(Split::Train).is_err());
    }
}
