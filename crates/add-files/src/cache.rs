//! What was computed once and may be used again: entries by key, each sealed with its SHA-256.
//!
//! An entry that is damaged, cut short or unreadable is none, so the worst that a cache does is nothing. Entries are
//! written beside their place and renamed, so processes may share a folder.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::{
    open, read,
    replace::by_way_of,
    rows::{Rows, bytes_of},
};

/// Bytes of a SHA-256.
const SEAL: usize = 32;

/// Names an entry: the SHA-256 of all that it depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; SEAL]);

impl Key {
    /// The key of these parts in this order; where a part ends counts too.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            add_part(&mut hash, part);
        }
        Self(hash.finalize().into())
    }

    /// Its bytes, as a part of another key.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A folder of entries, or none.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    /// Whether entries are no longer written: from the beginning, or since the disk refused one.
    full: AtomicBool,
}

impl Cache {
    /// One that keeps nothing.
    pub const fn off() -> Self {
        Self { folder: PathBuf::new(), full: AtomicBool::new(true) }
    }

    /// The entries below `folder`, which is made when the first one is written.
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), full: AtomicBool::new(false) }
    }

    /// Whether it keeps nothing.
    pub fn is_off(&self) -> bool {
        self.folder.as_os_str().is_empty()
    }

    /// The entry of `key`, if there is a sound one of at most `most` bytes.
    pub fn get(&self, key: &Key, most: u64) -> Option<Vec<u8>> {
        if self.is_off() {
            return None;
        }
        let mut sealed = read(&self.path(*key), most.saturating_add(SEAL as u64)).ok()?;
        let bytes = sealed.split_off(sealed.len().min(SEAL));
        (sealed == seal(key, &bytes)).then_some(bytes)
    }

    /// Keeps an entry. A disk that refuses costs a warning and the cache, not the run.
    pub fn put(&self, key: &Key, bytes: &[u8]) {
        self.keep(key, |file| {
            file.write_all(&seal(key, bytes))?;
            file.write_all(bytes)
        });
    }

    /// The `rows` rows that [`put_rows`](Self::put_rows) kept under `key`, if they are sound. They are checked once and then
    /// read from the entry's own file.
    pub fn get_rows(&self, key: &Key, rows: usize) -> Option<Rows> {
        if self.is_off() {
            return None;
        }
        let (mut file, length) = open(&self.path(*key)).ok()?;
        let values = length.checked_sub(SEAL as u64)?.checked_div(size_of::<f32>() as u64)?;
        let width = usize::try_from(values.checked_div(rows as u64)?).ok()?;
        let mut stated = [0; SEAL];
        file.read_exact(&mut stated).ok()?;
        let kept = Rows::of_file(file, SEAL as u64, width, rows);
        let is_sound = width > 0
            && length == SEAL as u64 + length_of(&kept)
            && seal_of_rows(key, &kept).is_ok_and(|seal| seal == stated);
        is_sound.then_some(kept)
    }

    /// Keeps rows as an entry, as [`put`](Self::put) does.
    pub fn put_rows(&self, key: &Key, rows: &Rows) {
        self.keep(key, |file| {
            file.write_all(&seal_of_rows(key, rows)?)?;
            rows.each_block(|values| file.write_all(&bytes_of(values)))
        });
    }

    fn keep(&self, key: &Key, content: impl FnOnce(&mut File) -> io::Result<()>) {
        if self.full.load(Ordering::Relaxed) {
            return;
        }
        let path = self.path(*key);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        if let Err(error) = made.and_then(|()| write(&path, content))
            && !self.full.swap(true, Ordering::Relaxed)
        {
            warn!("{}: {error}; nothing more is kept there", self.folder.display());
        }
    }

    fn path(&self, key: Key) -> PathBuf {
        let hex = hex::encode(key.0);
        self.folder.join(&hex[..2]).join(&hex[2..])
    }
}

/// The hash over key and bytes: an entry under the name of another one is none.
fn seal(key: &Key, bytes: &[u8]) -> [u8; SEAL] {
    Key::of([key.bytes(), bytes]).0
}

/// The [`seal`] of the bytes of rows.
fn seal_of_rows(key: &Key, rows: &Rows) -> io::Result<[u8; SEAL]> {
    let mut hash = Sha256::new();
    add_part(&mut hash, key.bytes());
    hash.update(length_of(rows).to_le_bytes());
    rows.each_block(|values| {
        hash.update(bytes_of(values));
        Ok::<_, io::Error>(())
    })?;
    Ok(hash.finalize().into())
}

/// Bytes of rows in a file.
fn length_of(rows: &Rows) -> u64 {
    (rows.len() * rows.width() * size_of::<f32>()) as u64
}

fn add_part(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_le_bytes());
    hash.update(part);
}

/// Writes an entry under a name of its own first, since threads and processes may write the same one at the same time. It is
/// not flushed to the disk: what a machine that loses its power leaves of it has no sound seal.
fn write(path: &Path, content: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unique = format!("{}-{}.tmp", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    by_way_of(&path.with_extension(unique), path, |unfinished| content(&mut File::create(unfinished)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowsWriter;

    fn key(name: &str) -> Key {
        Key::of([name.as_bytes()])
    }

    #[test]
    fn entries_come_back_under_their_own_key_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::folder(folder.path().join("new"));
        assert_eq!(cache.get(&key("a"), 99), None);
        cache.put(&key("a"), b"first");
        cache.put(&key("a"), b"second");
        cache.put(&key("b"), b"");
        assert_eq!(cache.get(&key("a"), 99).as_deref(), Some(&b"second"[..]));
        assert_eq!(cache.get(&key("b"), 99).as_deref(), Some(&b""[..]));
        assert_eq!(cache.get(&key("a"), 5), None, "longer than allowed");
        assert_ne!(Key::of([&b"ab"[..], b"c"]), Key::of([&b"a"[..], b"bc"]));
        fs::rename(cache.path(key("a")), cache.path(key("b"))).expect("renamed");
        assert_eq!(cache.get(&key("b"), 99), None, "an entry of another key");
    }

    #[test]
    fn no_damage_is_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::folder(folder.path());
        cache.put(&key("a"), b"seven");
        let path = cache.path(key("a"));
        let sound = fs::read(&path).expect("there");
        for cut in 0..sound.len() {
            fs::write(&path, &sound[..cut]).expect("written");
            assert_eq!(cache.get(&key("a"), 99), None, "cut to {cut}");
            let mut flipped = sound.clone();
            flipped[cut] ^= 0x10;
            fs::write(&path, flipped).expect("written");
            assert_eq!(cache.get(&key("a"), 99), None, "flipped at {cut}");
        }
        cache.put(&key("a"), b"seven");
        assert_eq!(fs::read(&path).expect("there"), sound, "replaced");
    }

    #[test]
    fn rows_come_back_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::folder(folder.path());
        let mut writer = RowsWriter::default();
        writer.push(2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).expect("kept");
        cache.put_rows(&key("a"), &writer.rows());
        let kept = cache.get_rows(&key("a"), 3).expect("sound");
        assert_eq!((kept.width(), kept.read(0, 3).expect("read")), (2, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        for (name, rows) in [("a", 4), ("a", 0), ("b", 3)] {
            assert!(cache.get_rows(&key(name), rows).is_none(), "{name}, {rows}");
        }
        // What is read as bytes is the same entry.
        assert_eq!(cache.get(&key("a"), 99).expect("sound"), bytes_of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let path = cache.path(key("a"));
        let sound = fs::read(&path).expect("there");
        for cut in 0..sound.len() {
            fs::write(&path, &sound[..cut]).expect("written");
            assert!(cache.get_rows(&key("a"), 3).is_none(), "cut to {cut}");
            let mut flipped = sound.clone();
            flipped[cut] ^= 0x10;
            fs::write(&path, flipped).expect("written");
            assert!(cache.get_rows(&key("a"), 3).is_none(), "flipped at {cut}");
        }
        assert!(Cache::off().get_rows(&key("a"), 3).is_none());
    }

    #[test]
    fn a_disk_that_refuses_costs_the_cache_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("taken"), "a file").expect("written");
        let cache = Cache::folder(folder.path().join("taken"));
        cache.put(&key("a"), b"seven");
        assert_eq!(cache.get(&key("a"), 99), None);
        Cache::off().put(&key("a"), b"seven");
        assert_eq!(Cache::off().get(&key("a"), 99), None);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "no half file is left");
    }
}
