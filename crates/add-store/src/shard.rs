//! Where the samples of a shard are, found in one pass over its headers and kept for the next run.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use add_files::{Cache, Key};

use crate::{
    Stat, Store, StoreError, TarSample, Wanted,
    group::{Extent, Grouping},
    members::members,
};

/// Shards that are indexed at the same time: they wait for answers, not for the processor.
const AT_ONCE: usize = 8;
/// Largest index that is kept, in bytes.
const MOST_INDEX: u64 = 256 << 20;

/// The samples of a shard by position, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIndex {
    /// The file that was indexed.
    pub stat: Stat,
    /// Its samples.
    pub samples: Vec<TarSample>,
}

/// A sample as it is kept: picture, then caption.
type Row = (u64, u32, u64, u32);

impl ShardIndex {
    /// The index of the shard `name` in `store`; from `cache` where it has one of this very file.
    ///
    /// # Errors
    /// When the shard is damaged, hostile or without pictures, or the store fails.
    pub fn of(store: &Store, name: &str, wanted: &Wanted, cache: &Cache) -> Result<Self, StoreError> {
        let (stat, place) = (store.stat(name)?, store.name(name));
        let mut parts = vec!["shard index 1", &*place, &*stat.tag, &*wanted.caption];
        parts.extend(wanted.pictures.iter().map(String::as_str));
        let key = Key::of(parts.iter().map(|part| part.as_bytes()).chain([&stat.length.to_le_bytes()[..]]));
        let kept =
            cache.get(&key, MOST_INDEX).and_then(|bytes| serde_json::from_slice::<Vec<Row>>(&bytes).ok());
        if let Some(rows) = kept {
            return Ok(Self { stat, samples: rows.into_iter().map(from_row).collect() });
        }
        let mut grouping = Grouping::new(&place, wanted);
        let fetch = |range| store.range(name, &stat, range);
        members(&place, stat.length, Box::new(fetch), &mut |member| grouping.add(&member))?;
        let samples = grouping.finish()?;
        let rows: Vec<Row> = samples.iter().map(to_row).collect();
        cache.put(&key, &serde_json::to_vec(&rows).expect("numbers are JSON"));
        Ok(Self { stat, samples })
    }

    /// The indexes of many shards, in their order.
    ///
    /// # Errors
    /// As [`of`](Self::of); the first shard's error of those that have one.
    pub fn all(shards: &[(&Store, &str)], wanted: &Wanted, cache: &Cache) -> Result<Vec<Self>, StoreError> {
        let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        let found = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(shards.len()) {
                scope.spawn(|| {
                    // Those after a shard that failed need not be read any more.
                    while let at = next.fetch_add(1, Ordering::Relaxed)
                        && at < failed.load(Ordering::Relaxed)
                        && let Some((store, name)) = shards.get(at)
                    {
                        let index = Self::of(store, name, wanted, cache);
                        if index.is_err() {
                            failed.fetch_min(at, Ordering::Relaxed);
                        }
                        found.lock().expect("no thread panics with it").push((at, index));
                    }
                });
            }
        });
        let mut found = found.into_inner().expect("no thread panics with it");
        found.sort_by_key(|(at, _)| *at);
        found.into_iter().map(|(_, index)| index).collect()
    }
}

fn to_row(TarSample { picture, caption }: &TarSample) -> Row {
    (picture.start, picture.length, caption.start, caption.length)
}

fn from_row((picture, picture_length, caption, caption_length): Row) -> TarSample {
    TarSample {
        picture: Extent { start: picture, length: picture_length },
        caption: Extent { start: caption, length: caption_length },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        Place,
        testing::{file, finished},
    };

    fn wanted() -> Wanted {
        Wanted { pictures: vec!["jpg".to_owned()], caption: "txt".to_owned() }
    }

    #[test]
    fn shards_are_indexed_in_their_order_and_the_first_error_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let names: Vec<String> = (0..20).map(|i| format!("{i:02}.tar")).collect();
        for (i, name) in names.iter().enumerate() {
            let picture = file("0.jpg", &vec![7; i + 1]);
            fs::write(folder.path().join(name), finished(&[&picture, &file("0.txt", b"seven")]))
                .expect("written");
        }
        let store = Store::open(&Place::parse(folder.path().to_str().expect("UTF-8")).expect("a path"))
            .expect("there");
        let shards: Vec<(&Store, &str)> = names.iter().map(|name| (&store, &**name)).collect();
        let all = || ShardIndex::all(&shards, &wanted(), &Cache::off());
        let lengths: Vec<u32> =
            all().expect("valid").iter().map(|index| index.samples[0].picture.length).collect();
        assert_eq!(lengths, (1..=20).collect::<Vec<_>>());
        for name in ["17.tar", "04.tar"] {
            fs::write(folder.path().join(name), b"no tar").expect("written");
        }
        assert!(all().expect_err("two are damaged").to_string().contains("04.tar"));
    }

    #[test]
    fn an_index_is_kept_for_the_file_that_it_was_made_of() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.tar");
        let write = |text: &[u8]| {
            fs::write(&path, finished(&[&file("0.jpg", b"x"), &file("0.txt", text)])).expect("written");
        };
        write(b"seven");
        let store = Store::open(&Place::parse(folder.path().to_str().expect("UTF-8")).expect("a path"))
            .expect("there");
        let cache = Cache::folder(folder.path().join("cache"));
        let index = || ShardIndex::of(&store, "0.tar", &wanted(), &cache).expect("valid");
        let first = index();
        let entries = || walk(&folder.path().join("cache"));
        assert_eq!((index(), entries().len()), (first.clone(), 1));
        // Damaged, it is made again.
        let entry = entries().remove(0);
        let sound = fs::read(&entry).expect("there");
        fs::write(&entry, &sound[..sound.len() - 1]).expect("written");
        assert_eq!((index(), fs::read(&entry).expect("there")), (first.clone(), sound));
        // Another file of the same name has another index.
        write(&[b'7'; 600]);
        assert_ne!(index().samples, first.samples);
    }

    fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("there").path());
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
    }
}
