//! Where the samples of a shard are, found in one pass over its headers and kept for the next run.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use add_files::{Cache, Key};

use crate::{
    PassedOver, Stat, Store, StoreError, TarSample, Wanted,
    group::{Grouped, Grouping},
    members::members,
    unpack::{Unpacked, is_gzip},
    window::Fetch,
};

/// Shards that are indexed at the same time: they wait for answers, not for the processor.
const AT_ONCE: usize = 8;
/// Bytes that tell how a file is packed.
const HEAD: u64 = 8;
/// Largest index that is kept, in bytes.
const MOST_INDEX: u64 = 256 << 20;

/// The samples of a shard by position, in the order of the file.
#[derive(Debug)]
pub struct ShardIndex {
    /// The file that was indexed.
    pub stat: Stat,
    /// Its samples.
    pub samples: Vec<TarSample>,
    /// Members that belong to no sample, said when the index is made and not kept with it.
    pub passed_over: PassedOver,
    /// What was unpacked of it, where it is packed.
    unpacked: Option<Unpacked>,
}

impl ShardIndex {
    /// The index of the shard `name` in `store`; from `cache` where it has one of this very file. A shard that is packed
    /// with gzip is unpacked into a temporary file first.
    ///
    /// # Errors
    /// When the shard is damaged, hostile or without pictures, or the store fails.
    pub fn of(store: &Store, name: &str, wanted: &Wanted, cache: &Cache) -> Result<Self, StoreError> {
        let (stat, place) = (store.stat(name)?, store.name(name));
        let head = store.range(name, &stat, 0..stat.length.min(HEAD))?;
        let is_packed = is_gzip(&head).map_err(|other| {
            let problem = format!("expected a tar file, or one packed with gzip, found {other}: unpack it");
            StoreError::Shard { place: place.clone(), offset: 0, problem }
        })?;
        if is_packed {
            let unpacked = Unpacked::new(store.reader(name)?, stat.length, &place)?;
            let fetch = |range| unpacked.range(range);
            let Grouped { samples, passed_over } = grouped(&place, unpacked.length, Box::new(fetch), wanted)?;
            return Ok(Self { stat, samples, passed_over, unpacked: Some(unpacked) });
        }
        let mut parts = vec!["shard index 3", &*place, &*stat.tag, &*wanted.caption];
        parts.extend(wanted.pictures.iter().map(String::as_str));
        let key = Key::of(parts.iter().map(|part| part.as_bytes()).chain([&stat.length.to_le_bytes()[..]]));
        let kept = cache.get(&key, MOST_INDEX).and_then(|bytes| TarSample::from_bytes(&bytes));
        if let Some(samples) = kept {
            return Ok(Self { stat, samples, passed_over: PassedOver::default(), unpacked: None });
        }
        let fetch = |range| store.range(name, &stat, range);
        let Grouped { samples, passed_over } = grouped(&place, stat.length, Box::new(fetch), wanted)?;
        cache.put(&key, &TarSample::to_bytes(&samples));
        Ok(Self { stat, samples, passed_over, unpacked: None })
    }

    /// The bytes `range` of the tar file `name` in `store`, whose index this is.
    ///
    /// # Errors
    /// When it has changed or the store fails.
    pub fn read(&self, store: &Store, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        match &self.unpacked {
            Some(unpacked) => unpacked.range(range),
            None => store.range(name, &self.stat, range),
        }
    }

    /// The indexes of many shards, in their order.
    ///
    /// # Errors
    /// As [`of`](Self::of); the first shard's error of those that have one.
    pub fn all(
        shards: &[(Arc<Store>, String)],
        wanted: &Wanted,
        cache: &Cache,
    ) -> Result<Vec<Self>, StoreError> {
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

/// The samples of a tar file of `length` bytes.
fn grouped(place: &str, length: u64, fetch: Fetch<'_>, wanted: &Wanted) -> Result<Grouped, StoreError> {
    let mut grouping = Grouping::new(place, wanted);
    members(place, length, fetch, &mut |member| grouping.add(&member))?;
    grouping.finish(length)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use flate2::{Compression, write::GzEncoder};

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
        let place = Place::parse(folder.path().to_str().expect("UTF-8")).expect("a path");
        let store = Arc::new(Store::open(&place).expect("there"));
        let shards: Vec<(Arc<Store>, String)> =
            names.iter().map(|name| (store.clone(), name.clone())).collect();
        let all = || ShardIndex::all(&shards, &wanted(), &Cache::off());
        let lengths: Vec<u64> =
            all().expect("valid").iter().map(|index| index.samples[0].picture.length()).collect();
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
        let index = || ShardIndex::of(&store, "0.tar", &wanted(), &cache).expect("valid").samples;
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
        assert_ne!(index(), first);
    }

    #[test]
    fn a_packed_shard_gives_what_it_gives_unpacked() {
        let folder = tempfile::tempdir().expect("a folder");
        let tar = finished(&[&file("0.jpg", &[7; 700]), &file("._0.jpg", b"x"), &file("0.txt", b"seven")]);
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&tar).expect("in memory");
        fs::write(folder.path().join("0.tar.gz"), packed.finish().expect("in memory")).expect("written");
        fs::write(folder.path().join("0.tar.zst"), b"\x28\xB5\x2F\xFD....").expect("written");
        let store = Store::open(&Place::parse(folder.path().to_str().expect("UTF-8")).expect("a path"))
            .expect("there");
        let index = ShardIndex::of(&store, "0.tar.gz", &wanted(), &Cache::off()).expect("valid");
        let caption = index.samples[0].caption;
        assert_eq!(index.read(&store, "0.tar.gz", caption.range()).expect("inside"), b"seven");
        assert_eq!(index.passed_over.to_string(), "1 hidden (._0.jpg)");
        let error =
            ShardIndex::of(&store, "0.tar.zst", &wanted(), &Cache::off()).expect_err("packed otherwise");
        assert!(error.to_string().contains("found zstd: unpack it"), "{error}");
    }

    fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("there").path());
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
    }
}
