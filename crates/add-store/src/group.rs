//! Members to samples, by the convention of WebDataset: the key of `a/000.left.jpg` is `a/000`, everything up to the
//! first dot of the base name, and its suffix is `left.jpg`. Members of one sample stand together.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::Range,
};

use add_files::is_hidden;

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

/// Bytes of a block: every member of a tar file begins with one.
const BLOCK: u64 = 512;

/// Where a member's bytes are; empty where there is no such member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// The block that they begin with.
    block: u32,
    /// Their number; the largest number stands for more than 4 GiB, which nobody reads.
    length: u32,
}

impl Extent {
    /// The extent of a member; `None` where it does not begin with a block, or behind 2 TiB.
    fn of(member: &Member) -> Option<Self> {
        let Range { start, end } = member.bytes;
        let block = u32::try_from(start / BLOCK).ok().filter(|_| start.is_multiple_of(BLOCK))?;
        Some(Self { block, length: u32::try_from(end - start).unwrap_or(u32::MAX) })
    }

    /// First byte.
    pub fn start(self) -> u64 {
        u64::from(self.block) * BLOCK
    }

    /// Number of bytes; at least 4 GiB where that is the largest number of 32 bits.
    pub fn length(self) -> u64 {
        self.length.into()
    }

    /// Its bytes in the shard.
    pub fn range(self) -> Range<u64> {
        self.start()..self.start() + self.length()
    }
}

/// Where a sample is in its shard: 16 bytes of memory, so that an index of ten million samples takes 153 MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TarSample {
    /// Its picture.
    pub picture: Extent,
    /// Its caption.
    pub caption: Extent,
}

impl TarSample {
    /// Samples one behind the other: block and length of the picture, then of the caption, lowest byte first.
    pub(crate) fn to_bytes(samples: &[Self]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size_of_val(samples));
        for Self { picture, caption } in samples {
            for number in [picture.block, picture.length, caption.block, caption.length] {
                bytes.extend(number.to_le_bytes());
            }
        }
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) wrote; `None` for anything else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Vec<Self>> {
        let (samples, []) = bytes.as_chunks::<16>() else { return None };
        let numbers = |sample: &[u8; 16]| {
            let (numbers, _) = sample.as_chunks::<4>();
            let extent = |at: usize| Extent {
                block: u32::from_le_bytes(numbers[at]),
                length: u32::from_le_bytes(numbers[at + 1]),
            };
            Self { picture: extent(0), caption: extent(2) }
        };
        Some(samples.iter().map(numbers).collect())
    }
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
        let extent = Extent::of(member)
            .ok_or_else(|| refused("expected it within the first 2 TiB of the shard".to_owned()))?;
        let sample = self.samples.last_mut().expect("the key has one");
        if self.picture.takes(&suffix, &self.wanted.pictures) {
            sample.picture = extent;
        }
        if self.caption.takes(&suffix, std::slice::from_ref(&self.wanted.caption)) {
            sample.caption = extent;
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
        let mut samples = self.samples;
        samples.shrink_to_fit();
        Ok(Grouped { samples, passed_over: self.passed_over })
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
            let header = 2 * BLOCK * i;
            let bytes = header + BLOCK..header + BLOCK + 10;
            grouping.add(&Member { name: (*name).to_owned(), header, bytes })?;
        }
        grouping.finish(2 * BLOCK * names.len() as u64).map(|grouped| grouped.samples)
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
        let at = |i: u32| Extent { block: 2 * i + 1, length: 10 };
        let none = Extent::default();
        assert_eq!(
            samples,
            [(at(1), at(2)), (none, at(3)), (at(5), none)]
                .map(|(picture, caption)| TarSample { picture, caption })
        );
    }

    #[test]
    fn samples_are_kept_in_sixteen_bytes_and_what_is_cut_short_is_none() {
        let extent = |block, length| Extent { block, length };
        let samples = [
            TarSample { picture: extent(1, 700), caption: extent(4, 5) },
            TarSample { picture: extent(u32::MAX, u32::MAX), caption: Extent::default() },
        ];
        assert_eq!(samples[1].picture.start(), (2 << 40) - 512);
        assert_eq!(samples[0].caption.range(), 2048..2053);
        let bytes = TarSample::to_bytes(&samples);
        assert_eq!((bytes.len(), size_of::<TarSample>()), (32, 16));
        assert_eq!(TarSample::from_bytes(&bytes).as_deref(), Some(&samples[..]));
        assert_eq!(TarSample::from_bytes(&bytes[1..]), None);
    }

    #[test]
    fn members_that_begin_with_no_block_of_the_first_2_tib_are_refused() {
        let wanted = Wanted { pictures: vec!["jpg".to_owned()], caption: "txt".to_owned() };
        for start in [100, 2 << 40] {
            let member = Member { name: "0.jpg".to_owned(), header: 0, bytes: start..start + 1 };
            let error = Grouping::new("x.tar", &wanted).add(&member).expect_err("it has no number");
            assert!(error.to_string().contains("2 TiB"), "{error}");
        }
    }

    #[test]
    fn a_suffix_may_stand_at_the_end_of_a_longer_one() {
        let at = |i: u32| Extent { block: 2 * i + 1, length: 10 };
        let names =
            ["0.image.jpg", "0.caption.txt", ".ipynb_checkpoints/1.jpg", "1.a.jpg", "1.b.jpg", "1.jpg"];
        let samples = grouped(&names).expect("valid");
        let second = TarSample { picture: at(5), caption: Extent::default() };
        assert_eq!(samples, [TarSample { picture: at(0), caption: at(1) }, second]);
    }

    #[test]
    fn duplicates_and_scattered_samples_and_shards_without_pictures_are_refused() {
        for (names, part) in [
            (&["0.jpg", "0.jpg"][..], "at byte 1024: expected each member once"),
            (&["0.jpg", "0.JPG"], "`0.jpg` again"),
            (&["0.jpg", "1.jpg", "0.txt"], "at byte 2048: expected the members of `0` to stand together"),
            (
                &["0.txt", "1.txt", "._1.jpg"],
                "found none among 2 samples, with 2 of .txt, 1 hidden (._1.jpg)",
            ),
            (&[], "found none among 0 samples"),
            (
                &["0.a.jpg", "0.b.jpg", "1.jpg"],
                "at byte 2048: `0` has several pictures, `.a.jpg` and `.b.jpg`",
            ),
            (&["0.jpg", "0.a.txt", "0.b.txt"], "at byte 3072: `0` has several captions"),
        ] {
            let error = grouped(names).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
