//! What every source of encoded pictures shares: limits, bytes to a sample, and what is said of what is not used.

use add_data::{SUFFIXES, decode_rgb, square, to_planes};
use add_files::Key;
use add_plugin::{Draw, PluginError, Purpose, Sample};
use add_store::{PassedOver, StoreError};
use tracing::warn;

/// Largest size of an encoded picture, in bytes.
pub(crate) const MAX_PICTURE: u64 = 64 << 20;
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

/// Says what was not used of `place`, if anything.
pub(crate) fn say_passed_over(place: &str, used: usize, passed_over: &PassedOver) {
    if !passed_over.is_empty() {
        let pictures = if used == 1 { "picture" } else { "pictures" };
        warn!("{place}: {used} {pictures}; passed over: {passed_over}");
    }
}

/// The error of a place without samples, with what was looked for there.
pub(crate) fn none_there(place: String, expected: &str, passed_over: Option<&PassedOver>) -> PluginError {
    let passed_over = passed_over.filter(|passed_over| !passed_over.is_empty());
    let passed_over = passed_over.map_or_else(String::new, |passed| format!("; passed over: {passed}"));
    let problem = format!("no samples: expected {expected}, found none{passed_over}");
    PluginError::File { path: place.into(), problem }
}

/// The pictures that are looked for, in words.
pub(crate) fn expected_pictures() -> String {
    format!("pictures (.{})", SUFFIXES.join(", ."))
}

/// A text that is another one when `parts` are.
pub(crate) fn fingerprint(parts: impl Iterator<Item = String>) -> String {
    let whole = parts.fold(Key::of([]), |key, part| Key::of([key.bytes(), part.as_bytes()]));
    hex::encode(whole.bytes())
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
            // Buckets have no names with control characters, and a list may hold one.
            StoreError::Place { .. } => Self::Bad("its name cannot be used in this store".to_owned()),
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
    fn a_file_at_fault_is_a_bad_sample_and_a_store_at_fault_ends_the_run() {
        let place = || "x/y".to_owned();
        for bad in [
            StoreError::Missing { place: place() },
            StoreError::TooLarge { place: place(), most: 1, found: 2 },
            StoreError::Place { text: place(), problem: "control characters".to_owned() },
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
