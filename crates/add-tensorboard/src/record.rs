//! Records: bytes with their length and checksums, one behind the other.
//!
//! ```text
//! u64 length | u32 masked CRC32C of the length | bytes | u32 masked CRC32C of the bytes
//! ```
//!
//! All numbers are little-endian. A checksum is rotated and shifted (`masked`), because the checksum of bytes that hold
//! their own checksum is weak.

use std::io::{self, Read, Write};

/// Longest record that is read, in bytes; a longer one is damage.
const LONGEST: u64 = 64 << 20;

/// Writes one record.
///
/// # Errors
/// When `to` refuses.
pub fn write_record(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = (bytes.len() as u64).to_le_bytes();
    to.write_all(&length)?;
    to.write_all(&masked(&length).to_le_bytes())?;
    to.write_all(bytes)?;
    to.write_all(&masked(bytes).to_le_bytes())
}

/// The records of a file in their order. It ends where the file ends, is cut, or is damaged: what follows a damaged
/// record has no known beginning.
#[derive(Debug)]
pub struct Records<R> {
    from: R,
}

impl<R: Read> Records<R> {
    /// Reads records from `from`, which should be buffered.
    pub fn new(from: R) -> Self {
        Self { from }
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        let length: [u8; 8] = self.array()?;
        let sum = u32::from_le_bytes(self.array()?);
        let bytes = u64::from_le_bytes(length);
        if masked(&length) != sum || bytes > LONGEST {
            return None;
        }
        let mut record = Vec::new();
        // By `take`, so that a false length costs no more memory than the file has bytes.
        self.from.by_ref().take(bytes).read_to_end(&mut record).ok()?;
        let sum = u32::from_le_bytes(self.array()?);
        (record.len() as u64 == bytes && masked(&record) == sum).then_some(record)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.read()
    }
}

/// The masked CRC32C of `bytes`.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What TensorBoard's own writer (2.21) made of the bytes `abc`.
    const ABC: &str = "0300000000000000b099490e6162636e57f121";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    #[test]
    fn a_record_has_the_bytes_that_tensorboard_writes() {
        let mut file = Vec::new();
        write_record(&mut file, b"abc").unwrap();
        assert_eq!(hex(&file), ABC);
    }

    #[test]
    fn a_cut_or_damaged_record_ends_the_file() {
        let mut file = Vec::new();
        for record in [&b"one"[..], b"", b"three"] {
            write_record(&mut file, record).unwrap();
        }
        let read = |bytes: &[u8]| Records::new(bytes).count();
        assert_eq!(read(&file), 3);
        for cut in 0..file.len() {
            assert!(read(&file[..cut]) < 3, "cut at {cut}");
        }
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x10;
            assert!(read(&damaged) < 3, "damaged at {at}");
        }
    }
}
