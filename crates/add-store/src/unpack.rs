//! Shards that are packed with gzip. Nothing inside of such a stream can be found without unpacking what stands before
//! it, so the whole is unpacked once, into a file without a name that goes when the process does.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    sync::{Mutex, PoisonError},
};

use flate2::read::MultiGzDecoder;

use crate::StoreError;

/// Unpacked bytes that any shard may have.
const FREE: u64 = 64 << 20;
/// Above that, how many times the packed ones. Pictures hardly shrink; zeros do, by a thousand.
const RATIO: u64 = 20;

/// An unpacked shard.
#[derive(Debug)]
pub(crate) struct Unpacked {
    file: Mutex<File>,
    place: String,
    pub(crate) length: u64,
}

impl Unpacked {
    /// Unpacks what `packed` gives, which has `length` bytes and is named `place` in messages.
    pub(crate) fn new(packed: impl Read, length: u64, place: &str) -> Result<Self, StoreError> {
        let problem = |problem| StoreError::Shard { place: place.to_owned(), offset: 0, problem };
        let most = FREE.max(RATIO.saturating_mul(length));
        let mut file = tempfile::tempfile().map_err(|error| problem(cannot_unpack(&error)))?;
        let mut unpacked = MultiGzDecoder::new(packed).take(most + 1);
        let (mut length, mut block) = (0, vec![0; 1 << 16]);
        loop {
            let count = match unpacked.read(&mut block) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(of_reading(error, problem)),
            };
            length += count as u64;
            if length > most {
                return Err(problem(format!("expected at most {most} bytes packed as gzip, found more")));
            }
            file.write_all(&block[..count]).map_err(|error| problem(cannot_unpack(&error)))?;
        }
        Ok(Self { file: Mutex::new(file), place: place.to_owned(), length })
    }

    /// The bytes `range`, which lie inside.
    pub(crate) fn range(&self, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start(range.start)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|error| StoreError::Failed { place: self.place.clone(), problem: error.to_string() })?;
        Ok(bytes)
    }
}

fn cannot_unpack(error: &io::Error) -> String {
    let folder = std::env::temp_dir();
    format!("cannot be unpacked into {}: {error}; TMPDIR names another folder", folder.display())
}

/// The store's own error, or what is wrong with the bytes.
fn of_reading(error: io::Error, problem: impl Fn(String) -> StoreError) -> StoreError {
    match error.downcast::<StoreError>() {
        Ok(error) => error,
        Err(error) => problem(format!("expected a tar file packed as gzip: {error}")),
    }
}

/// Whether a file that begins so is packed with gzip, or the name of another way in which it is packed.
pub(crate) fn is_gzip(head: &[u8]) -> Result<bool, &'static str> {
    let others: [(&[u8], &str); 4] =
        [(b"\x28\xB5\x2F\xFD", "zstd"), (b"BZh", "bzip2"), (b"\xFD7zXZ\0", "xz"), (b"PK\x03\x04", "zip")];
    match others.into_iter().find(|(magic, _)| head.starts_with(magic)) {
        Some((_, name)) => Err(name),
        None => Ok(head.starts_with(b"\x1F\x8B")),
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    }

    #[test]
    fn every_member_of_a_stream_is_unpacked() {
        let two = [packed(b"seven b"), packed(b"and more")].concat();
        let unpacked = Unpacked::new(&two[..], two.len() as u64, "x.tar.gz").expect("sound");
        assert_eq!(
            (unpacked.length, unpacked.range(5..12).expect("inside")),
            (15, b" band mo".to_vec()[..7].to_vec())
        );
        let error = Unpacked::new(&two[..20], 20, "x.tar.gz").expect_err("cut").to_string();
        assert!(error.starts_with("x.tar.gz: at byte 0: expected a tar file packed as gzip"), "{error}");
    }

    #[test]
    fn a_bomb_is_noticed_before_it_has_grown() {
        let bomb = packed(&vec![0; FREE as usize + 1]);
        let error = Unpacked::new(&bomb[..], bomb.len() as u64, "x.tar.gz").expect_err("a bomb").to_string();
        assert!(error.contains("at most 67108864 bytes"), "{error}");
    }

    #[test]
    fn other_ways_of_packing_are_named() {
        assert_eq!(is_gzip(b"\x1F\x8B\x08"), Ok(true));
        assert_eq!(is_gzip(b"0000.jpg"), Ok(false));
        assert_eq!(is_gzip(b"\x28\xB5\x2F\xFD\0"), Err("zstd"));
    }
}
