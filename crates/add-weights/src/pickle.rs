//! How much a pickle builds, counted before anything of it is built.
//!
//! A byte of a pickle may be an object of two hundred bytes, and a megabyte of them packs into a kilobyte of a zip archive. So the
//! operations are counted by their lengths alone (Python's `pickletools.py` describes them), in as much of the file as is read.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use zip::ZipArchive;

use crate::limits::MAX_HEADER_BYTES;

/// Most operations. A tensor takes about thirty: SDXL's with everything beside it 80,000.
const MOST: usize = 500_000;
/// Pickles that stand one behind the other in the files of PyTorch before 1.6: a mark, a version, the system, the tensors, their keys.
const STREAMS: usize = 5;
/// Where a tar archive says that it is one.
const TAR: std::ops::Range<usize> = 257..262;

/// Refuses a file whose pickle builds more than any model has.
///
/// # Errors
/// With the reason. What is damaged is left to the reader.
pub(crate) fn check(mut file: File, head: &[u8]) -> Result<(), String> {
    if head.get(TAR) == Some(b"ustar") {
        return Err("it is a tar file of PyTorch 0.1; save it again with a newer one".to_owned());
    }
    if !head.starts_with(b"PK") {
        file.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
        return count(&limited(file), STREAMS);
    }
    let Ok(mut archive) = ZipArchive::new(file) else { return Ok(()) };
    for at in 0..archive.len() {
        let Ok(entry) = archive.by_index(at) else { continue };
        if !entry.name_raw().ends_with(b"data.pkl") {
            continue;
        }
        if entry.size() > MAX_HEADER_BYTES {
            return Err(too_long());
        }
        count(&limited(entry), 1)?;
    }
    Ok(())
}

/// As many bytes as a pickle may have, and one more where there are more.
fn limited(reader: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What cannot be unpacked is damaged, and what stands before the damage is counted.
    let _ = reader.take(MAX_HEADER_BYTES + 1).read_to_end(&mut bytes);
    bytes
}

fn too_long() -> String {
    format!("its pickle is longer than {MAX_HEADER_BYTES} bytes, which no model's is")
}

/// Counts the operations of the first pickles in `bytes`.
fn count(bytes: &[u8], streams: usize) -> Result<(), String> {
    let (mut rest, mut operations, mut ended) = (bytes, 0, 0);
    while ended < streams {
        let Some((&operation, arguments)) = rest.split_first() else { break };
        operations += 1;
        if operations > MOST {
            return Err(format!("its pickle has more than {MOST} operations, which no model's has"));
        }
        ended += usize::from(operation == b'.');
        let Some(length) = length(operation, arguments) else { return Ok(()) };
        let Some(after) = arguments.get(length..) else { break };
        rest = after;
    }
    // The tensors of older files stand behind their pickles; a pickle that goes on beyond what is read is no model's.
    if ended < streams && bytes.len() as u64 > MAX_HEADER_BYTES { Err(too_long()) } else { Ok(()) }
}

/// Bytes behind an operation that belong to it; nothing for an operation that there is not.
fn length(operation: u8, arguments: &[u8]) -> Option<usize> {
    let prefixed = |width: usize| {
        let prefix = arguments.get(..width)?;
        let length = prefix.iter().rev().fold(0_u64, |length, &byte| length << 8 | u64::from(byte));
        usize::try_from(length).ok()?.checked_add(width)
    };
    let lines = |count: usize| {
        let ends = arguments.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        ends.map(|(at, _)| at + 1).nth(count - 1)
    };
    match operation {
        b'('
        | b'.'
        | b'0'
        | b'1'
        | b'2'
        | b')'
        | b']'
        | b'}'
        | b'N'
        | b'Q'
        | b'R'
        | b'a'
        | b'b'
        | b'd'
        | b'e'
        | b'l'
        | b'o'
        | b's'
        | b't'
        | b'u'
        | 0x81
        | 0x85..=0x89
        | 0x8F..=0x94
        | 0x97
        | 0x98 => Some(0),
        b'K' | b'h' | b'q' | 0x80 | 0x82 => Some(1),
        b'M' | 0x83 => Some(2),
        b'J' | b'j' | b'r' | 0x84 => Some(4),
        b'G' | 0x95 => Some(8),
        b'C' | b'U' | 0x8A | 0x8C => prefixed(1),
        b'B' | b'T' | b'X' | 0x8B => prefixed(4),
        0x8D | 0x8E | 0x96 => prefixed(8),
        b'F' | b'I' | b'L' | b'P' | b'S' | b'V' | b'g' | b'p' => lines(1),
        b'c' | b'i' => lines(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_by_their_lengths() {
        // A text of half a million brackets is one operation.
        let text = [&b"\x80\x02X\xFF\xFF\x07\0"[..], &vec![b']'; 0x7_FFFF], b"."].concat();
        assert_eq!(count(&text, 1), Ok(()));
        let lists = [&b"\x80\x02"[..], &vec![b']'; MOST], b"."].concat();
        assert!(count(&lists, 1).is_err_and(|said| said.contains("more than 500000 operations")));
        // What is behind the pickles is not theirs.
        assert_eq!(count(&[&b"\x80\x02K\x01."[..], &vec![b']'; MOST]].concat(), 1), Ok(()));
        assert!(count(&[&b"\x80\x02K\x01."[..], &vec![b']'; MOST]].concat(), 2).is_err());
        for damaged in [
            &b""[..],
            b"X\xFF",
            b"X\xFF\xFF\xFF\xFF",
            b"\x8D\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
            b"\xFE",
            b"S'a",
        ] {
            assert_eq!(count(damaged, 1), Ok(()), "{damaged:?}");
        }
        let endless = vec![b'X'; 1 << 25];
        assert!(count(&[&b"X\0\0\0\x01"[..], &endless[..MAX_HEADER_BYTES as usize]].concat(), 1).is_err());
    }
}
