//! The sample grids of a run: the first, one from the middle and the last, as data URIs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{ReportError, at};

/// Larger files are left out: three of them would make a page no browser opens gladly.
const MAX_BYTES: u64 = 32 << 20;
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A grid, ready for the page.
#[derive(Debug, PartialEq)]
pub(super) struct Grid {
    pub(super) step: u64,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) uri: String,
}

/// What the samples folder holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Samples {
    /// Up to three grids by rising step.
    pub(super) grids: Vec<Grid>,
    /// Number of grids in the folder.
    pub(super) count: usize,
    /// Chosen files that are no PNG or too large.
    pub(super) unreadable: Vec<String>,
    /// The evaluation's captions by models, if it left some.
    pub(super) compared: Option<Grid>,
}

impl Samples {
    /// Reads the folder and the grid `compared`; what is absent is empty.
    pub(super) fn read(folder: &Path, compared: &Path) -> Result<Self, ReportError> {
        let compared = if compared.is_file() { grid(0, compared)? } else { None };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { compared, ..Self::default() });
            }
            Err(error) => return Err(at(folder)(error)),
        };
        let mut found: Vec<(u64, PathBuf)> = Vec::new();
        for entry in entries {
            let path = entry.map_err(at(folder))?.path();
            found.extend(step_of(&path).map(|step| (step, path)));
        }
        found.sort();
        let mut samples = Self { count: found.len(), compared, ..Self::default() };
        for (step, path) in chosen(&found) {
            match grid(*step, path)? {
                Some(grid) => samples.grids.push(grid),
                None => samples
                    .unreadable
                    .extend(path.file_name().map(|name| name.to_string_lossy().into_owned())),
            }
        }
        Ok(samples)
    }
}

/// `N` of `step-N.png`.
fn step_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("step-")?.strip_suffix(".png")?.parse().ok()
}

/// First, last, and the one nearest to halfway between them.
fn chosen(found: &[(u64, PathBuf)]) -> Vec<&(u64, PathBuf)> {
    let (Some(first), Some(last)) = (found.first(), found.last()) else { return Vec::new() };
    let half = first.0 + (last.0 - first.0) / 2;
    let inner = found.get(1..found.len() - 1).unwrap_or_default();
    let middle = inner.iter().min_by_key(|(step, _)| step.abs_diff(half));
    let mut chosen = vec![first];
    chosen.extend(middle);
    chosen.extend((found.len() > 1).then_some(last));
    chosen
}

fn grid(step: u64, path: &Path) -> Result<Option<Grid>, ReportError> {
    let bytes = match add_files::read(path, MAX_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Ok(None),
        read => read.map_err(at(path))?,
    };
    Ok(size(&bytes).map(|(width, height)| Grid {
        step,
        width,
        height,
        uri: format!("data:image/png;base64,{}", STANDARD.encode(&bytes)),
    }))
}

/// Width and height from the header of a PNG.
fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.strip_prefix(SIGNATURE)?.get(4..16)?.strip_prefix(b"IHDR")?;
    let (width, height) = header.split_first_chunk::<4>()?;
    let size = (u32::from_be_bytes(*width), u32::from_be_bytes(height.try_into().ok()?));
    (size.0 > 0 && size.1 > 0).then_some(size)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The head of a PNG, enough for its size; `salt` tells one from another.
    pub(in super::super) fn png(width: u32, height: u32, salt: u8) -> Vec<u8> {
        let mut bytes = [SIGNATURE, b"\0\0\0\x0dIHDR"].concat();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 2, 0, 0, 0, salt]);
        bytes
    }

    fn folder(steps: &[u64]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for step in steps {
            fs::write(folder.path().join(format!("step-{step:07}.png")), png(30, 20, *step as u8)).unwrap();
        }
        folder
    }

    fn steps(of: &[u64]) -> Vec<u64> {
        Samples::read(folder(of).path(), Path::new("none"))
            .unwrap()
            .grids
            .iter()
            .map(|grid| grid.step)
            .collect()
    }

    #[test]
    fn first_middle_and_last_are_chosen_by_step_not_by_count() {
        assert_eq!(steps(&[0, 10, 20, 30, 1000, 2000]), [0, 1000, 2000]);
        assert_eq!(steps(&[0, 100_000_000]), [0, 100_000_000]);
        assert_eq!(steps(&[7]), [7]);
        assert!(steps(&[]).is_empty());
    }

    #[test]
    fn the_picture_goes_in_byte_for_byte() {
        let folder = folder(&[5]);
        let samples = Samples::read(folder.path(), Path::new("none")).unwrap();
        let grid = &samples.grids[0];
        assert_eq!((grid.width, grid.height), (30, 20));
        let data = grid.uri.strip_prefix("data:image/png;base64,").unwrap();
        assert_eq!(STANDARD.decode(data).unwrap(), png(30, 20, 5));
    }

    #[test]
    fn other_files_are_ignored_and_a_damaged_grid_is_named() {
        let folder = folder(&[1, 2]);
        for name in ["step-x.png", "step-3.png.tmp", "note.txt"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        fs::write(folder.path().join("step-9.png"), "\u{89}PNG but not really").unwrap();
        let samples = Samples::read(folder.path(), Path::new("none")).unwrap();
        assert_eq!((samples.count, samples.grids.len()), (3, 2));
        assert_eq!(samples.unreadable, ["step-9.png"]);
    }

    #[test]
    fn an_absent_folder_has_no_grids() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            Samples::read(&folder.path().join("samples"), Path::new("none")).unwrap(),
            Samples::default()
        );
    }
}
