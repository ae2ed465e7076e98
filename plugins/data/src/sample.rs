//! What every source of encoded pictures shares: limits, captions that say something, bytes to a sample.

use add_data::{decode_rgb, square, to_planes};
use add_plugin::{Draw, PluginError, Purpose, Sample};
use add_store::StoreError;

/// Suffixes of the pictures that can be decoded.
pub(crate) const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// Largest size of an encoded picture, in bytes.
pub(crate) const MAX_PICTURE: u64 = 64 << 20;
/// Largest size of one picture's captions with what stands beside them, in bytes.
pub(crate) const MAX_CAPTIONS: u64 = 1 << 20;
/// Longest caption, in characters.
const MAX_CAPTION: usize = 2000;
/// Largest side that pictures may be resized to.
const MAX_SIZE: usize = 4096;

/// Refuses a side that no picture has.
pub(crate) fn check_size(size: usize) -> Result<(), PluginError> {
    if (1..=MAX_SIZE).contains(&size) {
        return Ok(());
    }
    let problem = format!("expected 1 to {MAX_SIZE} pixels, got {size}");
    Err(PluginError::Field { field: "size", problem })
}

/// The captions that say something.
pub(crate) fn checked(captions: Vec<String>) -> Result<Vec<String>, String> {
    let captions: Vec<_> = captions.iter().map(|c| c.trim().to_owned()).filter(|c| !c.is_empty()).collect();
    match captions.iter().map(|c| c.chars().count()).max() {
        None => Err("it has no caption".to_owned()),
        Some(longest) if longest > MAX_CAPTION => {
            Err(format!("a caption has more than {MAX_CAPTION} characters"))
        }
        Some(_) => Ok(captions),
    }
}

/// The captions in a text, one a line.
pub(crate) fn lines(bytes: Vec<u8>) -> Result<Vec<String>, String> {
    let text = String::from_utf8(bytes).map_err(|_| "its captions are not UTF-8".to_owned())?;
    checked(text.lines().map(str::to_owned).collect())
}

/// An encoded picture as its central square of `size` pixels a side, with one of its captions.
pub(crate) fn sample(bytes: &[u8], captions: &[String], size: usize, draw: &Draw) -> Result<Sample, String> {
    let decoded = decode_rgb(bytes).map_err(|error| error.to_string())?;
    let caption = captions[draw.below(Purpose::Sample, captions.len())].clone();
    Ok(Sample { pixels: to_planes(&square(&decoded, size as u32)), size, caption })
}

/// Why a sample cannot be had.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The sample itself is at fault, today and tomorrow: it is skipped and counted by this reason.
    Bad(String),
    /// The store is. Skipping what it does not give would make another run of the same recipe.
    Store(StoreError),
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self::Bad(reason)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing { .. } => Self::Bad("there is no such file".to_owned()),
            StoreError::TooLarge { most, .. } => Self::Bad(format!("it holds more than {most} bytes")),
            other => Self::Store(other),
        }
    }
}

impl Trouble {
    /// The error of sample `index`, which lies in `file`.
    pub(crate) fn of(self, index: usize, file: impl Into<String>) -> PluginError {
        match self {
            Self::Bad(problem) => PluginError::Sample { index, file: file.into(), problem },
            Self::Store(error) => store_error(error),
        }
    }
}

/// A store's failure, which ends the run.
pub(crate) fn store_error(error: StoreError) -> PluginError {
    PluginError::Store(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_say_something_and_end() {
        assert!(checked(vec!["x".repeat(MAX_CAPTION + 1)]).is_err());
        assert_eq!(checked(vec!["ü".repeat(MAX_CAPTION)]).map(|c| c.len()), Ok(1));
        assert_eq!(checked(vec![" ".into(), "y ".into()]), Ok(vec!["y".to_owned()]));
        assert_eq!(lines(b" a \n\nb".to_vec()), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(lines(vec![b'a', 0xFF]), Err("its captions are not UTF-8".to_owned()));
    }

    #[test]
    fn a_file_at_fault_is_a_bad_sample_and_a_store_at_fault_ends_the_run() {
        let place = || "x/y".to_owned();
        for bad in [
            StoreError::Missing { place: place() },
            StoreError::TooLarge { place: place(), most: 1, found: 2 },
        ] {
            assert!(matches!(Trouble::from(bad).of(3, "y"), PluginError::Sample { index: 3, .. }));
        }
        for broken in [
            StoreError::Failed { place: place(), problem: "503".to_owned() },
            StoreError::Changed { place: place() },
        ] {
            assert!(matches!(Trouble::from(broken).of(3, "y"), PluginError::Store(_)));
        }
    }
}
