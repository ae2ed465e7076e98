//! Files from which pictures are made, known again by a fingerprint.

use std::{
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::public::public;
use crate::error::CoreError;

/// Bytes of a file that its fingerprint covers whole; of a longer one it covers as many, in blocks.
const WHOLE: u64 = 64 << 20;
const BLOCK: u64 = 1 << 20;

/// A file, or a place on a hub, from which a picture was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileUsed {
    /// Its path.
    pub name: String,
    /// SHA-256 over its length and content, of long files over a part of the content; none of folders and hubs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

impl FileUsed {
    /// The file, folder or place on a hub that `name` names, seen from the current folder.
    ///
    /// # Errors
    /// When it is a file that cannot be read.
    pub fn of(name: &str) -> Result<Self, CoreError> {
        if name.contains("://") && !name.starts_with("file://") {
            return Ok(Self { name: name.to_owned(), fingerprint: None });
        }
        let path = Path::new(name.trim_start_matches("file://"));
        let fingerprint =
            if path.is_dir() { None } else { Some(fingerprint(path).map_err(CoreError::io(path))?) };
        Ok(Self { name: public(path, None), fingerprint })
    }

    /// Where it is now: seen from the current folder, or in one of `folders`. `option` names it on the command line.
    ///
    /// # Errors
    /// When it is not there, or is another file.
    pub fn find(&self, folders: &[&Path], option: &'static str) -> Result<String, CoreError> {
        if self.name.contains("://") {
            return Ok(self.name.clone());
        }
        let refuse = |problem: String| Err(CoreError::Argument { name: option, problem });
        let places = std::iter::once(Path::new("")).chain(folders.iter().copied());
        let Some(path) = places.map(|folder| folder.join(&self.name)).find(|path| path.exists()) else {
            return refuse(format!(
                "the picture was made with {}, which is not there; name it with this option",
                self.name
            ));
        };
        if let Some(expected) = &self.fingerprint
            && fingerprint(&path).map_err(CoreError::io(&path))? != *expected
        {
            return refuse(format!(
                "{} has changed since the picture was made from it; name a file with this option to use it all the same",
                path.display()
            ));
        }
        Ok(path.to_string_lossy().into_owned())
    }
}

/// SHA-256 over the length and content of a file, of a long one over blocks of it.
fn fingerprint(path: &Path) -> io::Result<String> {
    let (mut file, length) = add_files::open(path)?;
    let mut sum = Sha256::new();
    sum.update(length.to_le_bytes());
    if length <= WHOLE {
        io::copy(&mut file, &mut sum)?;
    } else {
        let blocks = WHOLE / BLOCK;
        for block in 0..blocks {
            // Multiplied first, so that the last block ends where the file does.
            let start = u128::from(length - BLOCK) * u128::from(block) / u128::from(blocks - 1);
            file.seek(SeekFrom::Start(start as u64))?;
            io::copy(&mut Read::by_ref(&mut file).take(BLOCK), &mut sum)?;
        }
    }
    Ok(format!("{:x}", sum.finalize()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_changed_or_missing_file_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.bin");
        fs::write(&path, "one").expect("written");
        let used = FileUsed::of(path.to_str().expect("UTF-8")).expect("read");
        assert_eq!(used.name, "a.bin");
        assert_eq!(used.find(&[folder.path()], "init").expect("there"), path.to_string_lossy());
        fs::write(&path, "two").expect("written");
        assert!(used.find(&[folder.path()], "init").unwrap_err().to_string().contains("has changed"));
        fs::remove_file(&path).expect("removed");
        assert!(used.find(&[folder.path()], "init").unwrap_err().to_string().contains("init: "));
    }

    #[test]
    fn a_long_file_is_covered_from_its_first_to_its_last_block() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.bin");
        let file = fs::File::create(&path).expect("made");
        file.set_len(WHOLE + 12_345).expect("sparse");
        let before = fingerprint(&path).expect("read");
        for at in [0, WHOLE + 12_344] {
            use std::os::unix::fs::FileExt;
            file.write_at(b"x", at).expect("written");
            assert_ne!(fingerprint(&path).expect("read"), before, "{at}");
            file.write_at(b"\0", at).expect("written");
            assert_eq!(fingerprint(&path).expect("read"), before);
        }
    }
}
