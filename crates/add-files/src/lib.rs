//! Reading files of unknown origin: regular files alone, and no more of them than a limit. Writing files that are whole
//! or not there.
//!
//! A pipe has no end to wait for, a device such as `/dev/zero` none at all, and a file of 100 GB in the place of a
//! recipe should cost an error, not the machine's memory. What is computed from such files may be kept in a [`Cache`].

mod cache;
mod hidden;
mod mapped;
mod replace;
mod rows;
mod text;

pub use cache::{Cache, Key};
pub use hidden::is_hidden;
pub use mapped::MappedFile;
pub use replace::{check_writable, rename, replace, sync};
pub use rows::{Rows, RowsWriter};
pub use text::{decode_text, has_utf_16_mark};

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use flate2::read::GzDecoder;

/// What is embedded in the program as `gzip`, unpacked.
///
/// # Errors
/// When the bytes are damaged.
pub fn unpack(gzip: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    GzDecoder::new(gzip).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a regular file, or what a link to one names; with it comes its length in bytes.
///
/// # Errors
/// When there is none, it cannot be read, or it is a folder, a pipe or a device.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    // Asked before opening, which for a pipe without a writer does not return.
    let kind = path.metadata()?;
    if !kind.is_file() {
        let found = if kind.is_dir() { "a folder" } else { "a pipe or device" };
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("expected a file, found {found}")));
    }
    Ok((File::open(path)?, kind.len()))
}

/// All bytes of a regular file.
///
/// # Errors
/// As [`open`], and when it holds more than `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (file, length) = open(path)?;
    let too_large = || {
        let message = format!("expected at most {most} bytes, found more");
        io::Error::new(io::ErrorKind::FileTooLarge, message)
    };
    if length > most {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // It may grow while it is read, and files under /proc state no length.
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large()) } else { Ok(bytes) }
}

/// All text of a regular file, as [`decode_text`] has it.
///
/// # Errors
/// As [`read`], and when it is no text.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    decode_text(read(path, most)?).map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        fs::write(&path, "four").expect("written");
        assert_eq!(read_text(&path, 4).expect("short enough"), "four");
        let error = read(&path, 3).expect_err("too long");
        assert_eq!(
            (error.kind(), error.to_string()),
            (io::ErrorKind::FileTooLarge, "expected at most 3 bytes, found more".to_owned())
        );
        fs::write(&path, [b'a', 0xFF]).expect("written");
        assert!(read_text(&path, 9).expect_err("no text").to_string().contains("byte 1"));
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, found) in [(folder.path(), "a folder"), (Path::new("/dev/zero"), "a pipe or device")] {
            assert!(read(path, 100).expect_err("no file").to_string().contains(found));
        }
        // States a length of none and is longer.
        if Path::new("/proc/self/status").exists() {
            assert!(read(Path::new("/proc/self/status"), 1 << 20).expect("text").len() > 100);
            assert!(read(Path::new("/proc/self/status"), 10).is_err());
        }
    }
}
