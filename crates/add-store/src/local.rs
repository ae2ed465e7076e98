//! Files below a folder of this machine, by any name that the system allows.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _, Seek as _, SeekFrom},
    ops::Range,
    path::{Component, Path, PathBuf},
    time::UNIX_EPOCH,
};

use crate::{Stat, StoreError};

/// A file of this machine, with how it is named in messages.
pub(crate) struct Local<'a> {
    pub(crate) path: PathBuf,
    pub(crate) place: &'a str,
}

impl<'a> Local<'a> {
    /// The file `name` below `folder`.
    pub(crate) fn below(folder: &Path, name: &str, place: &'a str) -> Result<Self, StoreError> {
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if name.is_empty() || !inside {
            let problem = "expected a path inside the folder".to_owned();
            return Err(StoreError::Place { text: place.to_owned(), problem });
        }
        Ok(Self { path: folder.join(name), place })
    }

    pub(crate) fn stat(&self) -> Result<Stat, StoreError> {
        Ok(stat(&self.metadata()?))
    }

    /// All bytes, at most so many.
    pub(crate) fn read(&self, most: u64) -> Result<Vec<u8>, StoreError> {
        let found = self.metadata()?.len();
        let too_large = |found| StoreError::TooLarge { place: self.place.to_owned(), most, found };
        if found > most {
            return Err(too_large(found));
        }
        add_files::read(&self.path, most).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => too_large(most + 1),
            _ => self.failed(&error),
        })
    }

    /// The bytes `range`, while the file is still the one of `expected`.
    pub(crate) fn range(&self, expected: &Stat, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.metadata()?;
        let failed = |error| self.failed(&error);
        let mut file = File::open(&self.path).map_err(failed)?;
        if stat(&file.metadata().map_err(failed)?) != *expected {
            return Err(StoreError::Changed { place: self.place.to_owned() });
        }
        if range.start > range.end || range.end > expected.length {
            let problem = format!("expected bytes {range:?}, found {}", expected.length);
            return Err(StoreError::Failed { place: self.place.to_owned(), problem });
        }
        file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// That of a file: a pipe has no end to wait for, and a folder no bytes.
    fn metadata(&self) -> Result<Metadata, StoreError> {
        let metadata = self.path.metadata().map_err(|error| {
            // A link that leads to itself is as good as none.
            let is_link = self.path.is_symlink() && error.kind() != io::ErrorKind::PermissionDenied;
            if is_link { self.missing() } else { self.failed(&error) }
        })?;
        if metadata.is_file() { Ok(metadata) } else { Err(self.missing()) }
    }

    fn missing(&self) -> StoreError {
        StoreError::Missing { place: self.place.to_owned() }
    }

    fn failed(&self, error: &io::Error) -> StoreError {
        use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
        match error.kind() {
            // The last two: a zero byte in a name, and one that is too long.
            NotFound | NotADirectory | InvalidInput | InvalidFilename => self.missing(),
            _ => StoreError::Failed { place: self.place.to_owned(), problem: error.to_string() },
        }
    }
}

fn stat(metadata: &Metadata) -> Stat {
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Stat { length: metadata.len(), tag: changed.map_or(0, |since| since.as_nanos()).to_string() }
}
