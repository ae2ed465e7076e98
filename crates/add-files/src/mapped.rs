//! A file's bytes without reading them: the system loads each page when it is looked at.

use std::{fmt, fs::File, io};

use memmap2::Mmap;

/// A file mapped into memory, to be read only.
///
/// The bytes are those of the file at the time of looking. Whoever writes into the file changes them; whoever cuts it
/// short ends this process at the next look, as for every mapped reader.
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps `file`, which must not be empty.
    ///
    /// # Errors
    /// When the system refuses.
    #[expect(unsafe_code, reason = "a file that others may write to is unsafe to map")]
    pub fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is only handed out as bytes, for which every pattern is valid, and nobody keeps a belief about
        // a byte between two looks: headers are parsed into values of their own, numbers are copied out.
        unsafe { Mmap::map(file) }.map(Self)
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedFile({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_the_files() {
        let source = File::open("src/mapped.rs").unwrap();
        let mapped = MappedFile::new(&source).unwrap();
        assert_eq!(mapped.as_ref(), include_bytes!("mapped.rs"));
    }
}
