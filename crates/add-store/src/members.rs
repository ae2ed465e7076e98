//! The members of a tar file by name and position, with its headers read by the `tar` crate and nothing unpacked.
//!
//! A tar file is a text that others wrote: whatever names a place outside of it, stands for another file, is longer than
//! the file, or has no end is refused for the whole shard, with the position of the header.

use std::{
    cell::Cell,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    rc::Rc,
};

use tar::{Archive, Entry, EntryType};

use crate::{
    StoreError,
    window::{Fetch, Window},
};

/// Most members of one shard.
const MOST_MEMBERS: usize = 1_000_000;
/// Most bytes of one member's header with its extensions.
const MOST_HEADER: u64 = 64 << 10;
/// Longest quoted error, in characters.
const QUOTED: usize = 200;
/// Unit of a tar file.
const BLOCK: u64 = 512;

/// A regular file inside of a tar file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its name, without a leading `./`.
    pub(crate) name: String,
    /// Where its header is.
    pub(crate) header: u64,
    /// Where its bytes are.
    pub(crate) bytes: Range<u64>,
}

/// Calls `each` for the regular files of the tar file `place` of `length` bytes, in their order.
///
/// # Errors
/// When the file is damaged or hostile, or `each` or `fetch` fails.
pub(crate) fn members(
    place: &str,
    length: u64,
    fetch: Fetch<'_>,
    each: &mut dyn FnMut(Member) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    walk(place, length, fetch, MOST_MEMBERS, each)
}

fn walk(
    place: &str,
    length: u64,
    fetch: Fetch<'_>,
    most: usize,
    each: &mut dyn FnMut(Member) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let budget = Rc::new(Cell::new(MOST_HEADER));
    let refuse = |offset| move |problem| refused(place, offset, problem);
    let failed = |offset| move |error| broken(place, offset, error);
    let mut archive = Archive::new(Window::new(fetch, length, budget.clone()));
    let mut entries = archive.entries_with_seek().map_err(failed(0))?;
    let (mut end, mut count) = (0, 0);
    loop {
        budget.set(MOST_HEADER);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(failed(end))?;
        count += 1;
        if count > most {
            return Err(refuse(end)(format!("expected at most {most} members, found more")));
        }
        let start = entry.raw_file_position();
        let stop = start.checked_add(entry.size()).filter(|stop| *stop <= length).ok_or_else(|| {
            refuse(end)(format!(
                "expected a member inside of {length} bytes, found one of {}: cut short?",
                entry.size()
            ))
        })?;
        if let Some(name) = regular(&mut entry).map_err(refuse(end))? {
            each(Member { name, header: end, bytes: start..stop })?;
        }
        end = stop.next_multiple_of(BLOCK);
    }
    budget.set(MOST_HEADER);
    let mut rest = archive.into_inner();
    let mut mark = [1; BLOCK as usize];
    rest.seek(SeekFrom::Start(end)).map_err(failed(end))?;
    match rest.read_exact(&mut mark) {
        Ok(()) if mark == [0; BLOCK as usize] => Ok(()),
        Ok(()) => Err(refuse(end)("expected a header or the end mark, found neither".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(refuse(end)(
            "expected the end mark of a tar file, found the end of the file: cut short?".to_owned(),
        )),
        Err(error) => Err(failed(end)(error)),
    }
}

/// The name of a regular file; nothing for what may lie between them.
fn regular(entry: &mut Entry<'_, impl Read>) -> Result<Option<String>, String> {
    let name = entry.path_bytes().into_owned();
    // Names only tell samples apart. Bytes of another encoding become one character each, so that they still do.
    let name = String::from_utf8(name)
        .unwrap_or_else(|error| error.as_bytes().iter().map(|&byte| char::from(byte)).collect());
    let name = inside(&name)?;
    let sparse =
        entry.pax_extensions().map_err(|error| error.to_string())?.into_iter().flatten().any(|extension| {
            extension.is_ok_and(|extension| extension.key_bytes().starts_with(b"GNU.sparse"))
        });
    let found = match entry.header().entry_type() {
        EntryType::Directory | EntryType::XGlobalHeader => return Ok(None),
        EntryType::Regular if !sparse => return Ok(Some(name)),
        EntryType::Regular | EntryType::GNUSparse => "a sparse file",
        EntryType::Symlink | EntryType::Link => "a link",
        _ => "a device, a pipe or something else",
    };
    Err(format!("`{}`: expected a regular file, found {found}", name.escape_debug()))
}

/// A name as a path below the shard.
fn inside(name: &str) -> Result<String, String> {
    let path = name.strip_prefix("./").unwrap_or(name);
    let outside = path.starts_with('/') || path.split('/').any(|part| part == "..");
    if outside || path.contains('\\') {
        return Err(format!("expected a name inside of the shard, found {name:?}"));
    }
    Ok(path.to_owned())
}

fn refused(place: &str, offset: u64, problem: String) -> StoreError {
    StoreError::Shard { place: place.to_owned(), offset, problem }
}

/// An error of reading: the store's own, or what the `tar` crate makes of the bytes.
fn broken(place: &str, offset: u64, error: io::Error) -> StoreError {
    match error.downcast::<StoreError>() {
        Ok(error) => error,
        Err(error) => {
            // The crate quotes the bytes that it met, and this is for a terminal.
            let error = error.to_string().chars().take(QUOTED).collect::<String>();
            let problem = format!("expected the header of a tar file: {}", error.escape_debug());
            refused(place, offset, problem)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{file, finished, header};

    fn found(tar: &[u8]) -> Result<Vec<Member>, StoreError> {
        limited(tar, MOST_MEMBERS)
    }

    fn limited(tar: &[u8], most: usize) -> Result<Vec<Member>, StoreError> {
        let fetch = |range: Range<u64>| Ok(tar[range.start as usize..range.end as usize].to_vec());
        let mut all = Vec::new();
        walk("x.tar", tar.len() as u64, Box::new(fetch), most, &mut |member| {
            all.push(member);
            Ok(())
        })?;
        Ok(all)
    }

    #[track_caller]
    fn refused(tar: &[u8], offset: u64, part: &str) {
        let error = found(tar).expect_err(part).to_string();
        assert!(error.starts_with(&format!("x.tar: at byte {offset}: ")) && error.contains(part), "{error}");
    }

    #[test]
    fn members_have_their_names_and_bytes() {
        let long = format!("{}/a.jpg", "deep/".repeat(40).trim_end_matches('/'));
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = header("x", 3);
        builder.append_data(&mut header, "./0.jpg", &b"abc"[..]).expect("written");
        builder.append_data(&mut header, &long, &b"xyz"[..]).expect("written, with a long name");
        let tar = builder.into_inner().expect("finished");
        let found = found(&tar).expect("valid");
        assert_eq!(found.iter().map(|m| &*m.name).collect::<Vec<_>>(), ["0.jpg", &*long]);
        let bytes = |m: &Member| &tar[m.bytes.start as usize..m.bytes.end as usize];
        assert_eq!((bytes(&found[0]), bytes(&found[1])), (&b"abc"[..], &b"xyz"[..]));
        assert_eq!((found[0].header, found[1].header), (0, 1024));
    }

    #[test]
    fn names_that_lead_outside_are_refused() {
        for name in ["../a.jpg", "a/../../b.jpg", "/etc/passwd", "..", "a\\b.jpg"] {
            refused(&finished(&[&file(name, b"x")]), 0, "inside of the shard");
        }
    }

    #[test]
    fn odd_names_are_names() {
        let mut latin = header("x.jpg", 0);
        latin.as_mut_bytes()[0] = 0xE9;
        latin.set_cksum();
        let found = found(&finished(&[latin.as_bytes(), &file("a\n\tb.jpg", b"x")])).expect("valid");
        assert_eq!(found.iter().map(|member| &*member.name).collect::<Vec<_>>(), ["é.jpg", "a\n\tb.jpg"]);
    }

    #[test]
    fn only_regular_files_are_members() {
        let first = file("0.jpg", b"x");
        for (kind, part) in [
            (EntryType::Symlink, "a link"),
            (EntryType::Link, "a link"),
            (EntryType::Char, "a device"),
            (EntryType::Fifo, "a device"),
            (EntryType::Continuous, "a device"),
        ] {
            let mut odd = header("1.jpg", 0);
            odd.set_entry_type(kind);
            odd.set_link_name("/etc/passwd").expect("short");
            odd.set_cksum();
            refused(&finished(&[&first, odd.as_bytes()]), 1024, part);
        }
        let mut folder = header("a/", 0);
        folder.set_entry_type(EntryType::Directory);
        folder.set_cksum();
        assert_eq!(found(&finished(&[folder.as_bytes(), &first])).expect("a folder is no harm").len(), 1);
    }

    #[test]
    fn sparse_files_of_both_kinds_are_refused() {
        let mut old = header("0.jpg", 0);
        old.set_entry_type(EntryType::GNUSparse);
        old.as_gnu_mut().expect("a GNU header").realsize = *b"00000000000\0";
        old.set_cksum();
        refused(&finished(&[old.as_bytes()]), 0, "sparse");
        let record = b"22 GNU.sparse.major=1\n";
        let mut extension = header("pax", record.len() as u64);
        extension.set_entry_type(EntryType::XHeader);
        extension.set_cksum();
        let mut new = extension.as_bytes().to_vec();
        new.extend(record);
        new.resize(1024, 0);
        refused(&finished(&[&new, &file("0.jpg", b"x")]), 0, "sparse");
    }

    #[test]
    fn sizes_beyond_the_file_are_refused() {
        for size in [2000, 8 << 30, u64::MAX >> 1, u64::MAX - 511, u64::MAX] {
            let mut huge = header("0.jpg", 0);
            huge.set_size(size);
            huge.set_cksum();
            let error = found(&finished(&[huge.as_bytes()])).expect_err("huge").to_string();
            assert!(error.starts_with("x.tar: at byte 0: "), "{error}");
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let whole = finished(&[&file("0.jpg", &[7; 700]), &file("0.txt", b"seven")]);
        assert_eq!(found(&whole).expect("whole").len(), 2);
        // One block of the end mark is enough.
        for length in 0..whole.len() - 512 {
            assert!(found(&whole[..length]).is_err(), "{length}");
        }
        refused(&whole[..100], 0, "header");
        refused(&whole[..900], 0, "cut short");
        refused(&whole[..1536 + 512 + 5 - 1], 1536, "cut short");
        refused(&whole[..2560], 2560, "cut short");
        refused(b"", 0, "cut short");
    }

    #[test]
    fn damage_in_the_middle_is_named_by_its_place() {
        let mut tar = finished(&[&file("0.jpg", &[7; 700]), &file("0.txt", b"seven")]);
        tar[1536 + 3] ^= 1;
        refused(&tar, 1536, "checksum");
        refused(&[0x1F, 0x8B].repeat(600), 0, "expected the header of a tar file: ");
    }

    #[test]
    fn endless_headers_and_members_end() {
        // A pax header of a megabyte, then a member.
        let mut extension = header("pax", 1 << 20);
        extension.set_entry_type(EntryType::XHeader);
        extension.set_cksum();
        let mut bomb = extension.as_bytes().to_vec();
        bomb.resize(512 + (1 << 20), b'1');
        refused(&finished(&[&bomb, &file("0.jpg", b"x")]), 0, "much longer");
        let many = finished(&[&file("a.txt", b""), &file("b.txt", b""), &file("c.txt", b"")]);
        assert_eq!(limited(&many, 3).expect("three").len(), 3);
        assert!(
            limited(&many, 2)
                .expect_err("more")
                .to_string()
                .contains("at byte 1024: expected at most 2 members")
        );
    }
}
