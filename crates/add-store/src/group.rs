//! Members to samples, by the convention of WebDataset: the key of `a/000.left.jpg` is `a/000`, everything up to the
//! first dot of the base name, and its suffix is `left.jpg`. Members of one sample stand together.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::{StoreError, members::Member};

/// Which members of a sample are wanted, by suffix in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Suffixes of its picture; the first one that there is counts.
    pub pictures: Vec<String>,
    /// Suffix of its caption.
    pub caption: String,
}

/// Where a member's bytes are; empty where there is no such member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// Number of bytes; the largest number stands for more than 4 GiB, which nobody reads.
    pub length: u32,
}

impl Extent {
    fn of(member: &Member) -> Self {
        let length = member.bytes.end - member.bytes.start;
        Self { start: member.bytes.start, length: u32::try_from(length).unwrap_or(u32::MAX) }
    }
}

/// Where a sample is in its shard: 32 bytes of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TarSample {
    /// Its picture.
    pub picture: Extent,
    /// Its caption.
    pub caption: Extent,
}

/// Collects the samples of one shard.
pub(crate) struct Grouping<'a> {
    wanted: &'a Wanted,
    place: &'a str,
    samples: Vec<TarSample>,
    keys: HashSet<String>,
    key: String,
    /// Suffixes of the sample that is being collected.
    suffixes: BTreeSet<String>,
    /// Rank of its picture's suffix.
    rank: usize,
}

impl<'a> Grouping<'a> {
    pub(crate) fn new(place: &'a str, wanted: &'a Wanted) -> Self {
        let (key, suffixes, rank) = (String::new(), BTreeSet::new(), usize::MAX);
        Self { wanted, place, samples: Vec::new(), keys: HashSet::new(), key, suffixes, rank }
    }

    /// Adds the next member.
    pub(crate) fn add(&mut self, member: &Member) -> Result<(), StoreError> {
        let Some((key, suffix)) = key_and_suffix(&member.name) else { return Ok(()) };
        let refused =
            |problem| StoreError::Shard { place: self.place.to_owned(), offset: member.header, problem };
        if self.samples.is_empty() || key != self.key {
            if !self.keys.insert(key.to_owned()) {
                return Err(refused(format!(
                    "expected the members of `{key}` to stand together, found it again"
                )));
            }
            key.clone_into(&mut self.key);
            self.suffixes.clear();
            self.rank = usize::MAX;
            self.samples.push(TarSample::default());
        }
        if self.suffixes.contains(&suffix) {
            return Err(refused(format!("expected each member once, found `{key}.{suffix}` again")));
        }
        let sample = self.samples.last_mut().expect("the key has one");
        let rank = self.wanted.pictures.iter().position(|known| *known == suffix).unwrap_or(usize::MAX);
        if rank < self.rank {
            (self.rank, sample.picture) = (rank, Extent::of(member));
        }
        if suffix == self.wanted.caption {
            sample.caption = Extent::of(member);
        }
        self.suffixes.insert(suffix);
        Ok(())
    }

    /// All samples, in the order of their first members.
    pub(crate) fn finish(self) -> Result<Vec<TarSample>, StoreError> {
        if self.samples.iter().all(|sample| sample.picture == Extent::default()) {
            let problem = format!(
                "expected pictures (.{}) in it, found none among {} samples",
                self.wanted.pictures.join(", ."),
                self.samples.len()
            );
            return Err(StoreError::Shard { place: self.place.to_owned(), offset: 0, problem });
        }
        Ok(self.samples)
    }
}

/// Nothing for a name without a dot, and for `__…__`, which says something about the shard.
fn key_and_suffix(name: &str) -> Option<(&str, String)> {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].find('.')?;
    let about_the_shard = name[base..].starts_with("__") || dot == base;
    (!about_the_shard).then(|| (&name[..dot], name[dot + 1..].to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(names: &[&str]) -> Result<Vec<TarSample>, StoreError> {
        let wanted =
            Wanted { pictures: ["jpg", "left.png"].map(str::to_owned).into(), caption: "txt".to_owned() };
        let mut grouping = Grouping::new("x.tar", &wanted);
        for (i, name) in (0..).zip(names) {
            let bytes = 100 * i + 50..100 * i + 60;
            grouping.add(&Member { name: (*name).to_owned(), header: 100 * i, bytes })?;
        }
        grouping.finish()
    }

    #[test]
    fn a_key_ends_at_the_first_dot_of_the_base_name() {
        assert_eq!(key_and_suffix("a.b/000.left.PNG"), Some(("a.b/000", "left.png".to_owned())));
        for name in ["README", "a.b/README", "__info__.json", "a/__x__.y", ".hidden"] {
            assert_eq!(key_and_suffix(name), None, "{name}");
        }
    }

    #[test]
    fn members_of_a_key_make_a_sample_and_the_first_suffix_wins() {
        let names = ["0.left.png", "0.jpg", "0.txt", "b/1.txt", "b/1.json", "2.jpg", "README"];
        let samples = grouped(&names).expect("valid");
        let at = |i: u64| Extent { start: 100 * i + 50, length: 10 };
        let none = Extent::default();
        assert_eq!(
            samples,
            [(at(1), at(2)), (none, at(3)), (at(5), none)]
                .map(|(picture, caption)| TarSample { picture, caption })
        );
    }

    #[test]
    fn duplicates_and_scattered_samples_and_shards_without_pictures_are_refused() {
        for (names, part) in [
            (&["0.jpg", "0.jpg"][..], "at byte 100: expected each member once"),
            (&["0.jpg", "0.JPG"], "`0.jpg` again"),
            (&["0.jpg", "1.jpg", "0.txt"], "at byte 200: expected the members of `0` to stand together"),
            (&["0.txt", "1.txt"], "found none among 2 samples"),
            (&[], "found none among 0 samples"),
        ] {
            let error = grouped(names).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
