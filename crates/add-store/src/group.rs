//! Members to samples, by the convention of WebDataset: the key of `a/000.left.jpg` is `a/000`, everything up to the
//! first dot of the base name, and its suffix is `left.jpg`. Members of one sample stand together.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use add_files::is_hidden;
use serde::{Deserialize, Serialize};

use crate::{PassedOver, StoreError, listing::HIDDEN, members::Member};

/// Different suffixes that a message about a shard without pictures names.
const TOLD: usize = 8;

/// Which members of a sample are wanted, by suffix in small letters. `jpg` also stands for `left.jpg`, where a sample has
/// one such member and none that is `jpg` alone.
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

/// What a shard's members make.
#[derive(Debug)]
pub(crate) struct Grouped {
    /// Its samples, in the order of their first members.
    pub(crate) samples: Vec<TarSample>,
    pub(crate) passed_over: PassedOver,
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
    picture: Choice,
    caption: Choice,
    passed_over: PassedOver,
    /// Every suffix of the shard with its number of members, for a shard without pictures.
    all: BTreeMap<String, usize>,
}

/// The best member for a part of the sample, so far.
#[derive(Default)]
struct Choice {
    /// How good its suffix is, and the suffix; the smallest number is the best.
    best: Option<(usize, String)>,
    /// Another one that is as good.
    rival: Option<String>,
}

impl Choice {
    /// Whether a member with this `suffix` is better than all before it.
    fn takes(&mut self, suffix: &str, wanted: &[String]) -> bool {
        let exact = wanted.iter().position(|known| known == suffix);
        let ends =
            |known: &String| suffix.strip_suffix(known.as_str()).is_some_and(|before| before.ends_with('.'));
        let Some(rank) = exact.or_else(|| wanted.iter().position(ends).map(|rank| rank + wanted.len()))
        else {
            return false;
        };
        match &self.best {
            Some((best, _)) if *best < rank => false,
            Some((best, _)) if *best == rank => {
                self.rival = Some(suffix.to_owned());
                false
            }
            _ => {
                *self = Self { best: Some((rank, suffix.to_owned())), rival: None };
                true
            }
        }
    }
}

impl<'a> Grouping<'a> {
    pub(crate) fn new(place: &'a str, wanted: &'a Wanted) -> Self {
        Self {
            wanted,
            place,
            samples: Vec::new(),
            keys: HashSet::new(),
            key: String::new(),
            suffixes: BTreeSet::new(),
            picture: Choice::default(),
            caption: Choice::default(),
            passed_over: PassedOver::default(),
            all: BTreeMap::new(),
        }
    }

    /// Adds the next member.
    pub(crate) fn add(&mut self, member: &Member) -> Result<(), StoreError> {
        if is_hidden(&member.name) {
            self.passed_over.add(HIDDEN, &member.name);
            return Ok(());
        }
        let Some((key, suffix)) = key_and_suffix(&member.name) else { return Ok(()) };
        let refused =
            |problem| StoreError::Shard { place: self.place.to_owned(), offset: member.header, problem };
        if self.samples.is_empty() || key != self.key {
            if !self.keys.insert(key.to_owned()) {
                return Err(refused(format!(
                    "expected the members of `{}` to stand together, found it again",
                    key.escape_debug()
                )));
            }
            self.check_choice(member.header)?;
            key.clone_into(&mut self.key);
            self.suffixes.clear();
            (self.picture, self.caption) = (Choice::default(), Choice::default());
            self.samples.push(TarSample::default());
        }
        if self.suffixes.contains(&suffix) {
            let name = format!("{key}.{suffix}");
            return Err(refused(format!("expected each member once, found `{}` again", name.escape_debug())));
        }
        let sample = self.samples.last_mut().expect("the key has one");
        if self.picture.takes(&suffix, &self.wanted.pictures) {
            sample.picture = Extent::of(member);
        }
        if self.caption.takes(&suffix, std::slice::from_ref(&self.wanted.caption)) {
            sample.caption = Extent::of(member);
        }
        if self.all.len() < TOLD || self.all.contains_key(&suffix) {
            *self.all.entry(suffix.clone()).or_default() += 1;
        }
        self.suffixes.insert(suffix);
        Ok(())
    }

    /// Refuses a sample of which it is not clear which member is its picture or caption.
    fn check_choice(&self, offset: u64) -> Result<(), StoreError> {
        for (what, field, choice) in [
            ("pictures", "pictures: [\"…\"]", &self.picture),
            ("captions", "caption: Member(\"…\")", &self.caption),
        ] {
            if let (Some((_, one)), Some(other)) = (&choice.best, &choice.rival) {
                let problem = format!(
                    "`{}` has several {what}, `.{}` and `.{}` (a sample's key ends at the first dot of its base name): \
                     name one with {field}",
                    self.key.escape_debug(),
                    one.escape_debug(),
                    other.escape_debug()
                );
                return Err(StoreError::Shard { place: self.place.to_owned(), offset, problem });
            }
        }
        Ok(())
    }

    /// All samples of the shard, which ends at `offset`.
    pub(crate) fn finish(self, offset: u64) -> Result<Grouped, StoreError> {
        self.check_choice(offset)?;
        if self.samples.iter().all(|sample| sample.picture == Extent::default()) {
            let found: Vec<String> = self
                .all
                .iter()
                .map(|(suffix, count)| format!("{count} of .{}", suffix.escape_debug()))
                .chain((!self.passed_over.is_empty()).then(|| self.passed_over.to_string()))
                .collect();
            let found = if found.is_empty() { String::new() } else { format!(", with {}", found.join(", ")) };
            let problem = format!(
                "expected pictures (.{}) in it, found none among {} samples{found}",
                self.wanted.pictures.join(", ."),
                self.samples.len()
            );
            return Err(StoreError::Shard { place: self.place.to_owned(), offset: 0, problem });
        }
        Ok(Grouped { samples: self.samples, passed_over: self.passed_over })
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
        grouping.finish(100 * names.len() as u64).map(|grouped| grouped.samples)
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
    fn a_suffix_may_stand_at_the_end_of_a_longer_one() {
        let at = |i: u64| Extent { start: 100 * i + 50, length: 10 };
        let names =
            ["0.image.jpg", "0.caption.txt", ".ipynb_checkpoints/1.jpg", "1.a.jpg", "1.b.jpg", "1.jpg"];
        let samples = grouped(&names).expect("valid");
        let second = TarSample { picture: at(5), caption: Extent::default() };
        assert_eq!(samples, [TarSample { picture: at(0), caption: at(1) }, second]);
    }

    #[test]
    fn duplicates_and_scattered_samples_and_shards_without_pictures_are_refused() {
        for (names, part) in [
            (&["0.jpg", "0.jpg"][..], "at byte 100: expected each member once"),
            (&["0.jpg", "0.JPG"], "`0.jpg` again"),
            (&["0.jpg", "1.jpg", "0.txt"], "at byte 200: expected the members of `0` to stand together"),
            (
                &["0.txt", "1.txt", "._1.jpg"],
                "found none among 2 samples, with 2 of .txt, 1 hidden (._1.jpg)",
            ),
            (&[], "found none among 0 samples"),
            (
                &["0.a.jpg", "0.b.jpg", "1.jpg"],
                "at byte 200: `0` has several pictures, `.a.jpg` and `.b.jpg`",
            ),
            (&["0.jpg", "0.a.txt", "0.b.txt"], "at byte 300: `0` has several captions"),
        ] {
            let error = grouped(names).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
