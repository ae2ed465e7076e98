//! Shards of WebDataset and of img2dataset: tar files in which the members of a sample stand together.
//!
//! One pass over the headers of each shard finds where its samples are; after that any sample is one range request away.
//! So the whole data is shuffled, not a buffer of it, and what is kept in memory is 16 bytes a sample.

use std::{ops::Range, path::Path, sync::Arc};

use add_data::{Keep, SUFFIXES};
use add_plugin::{DataSource, Dataset, Draw, Entry, PluginError, Sample, Split, inventory};
use add_store::{Extent, PassedOver, ShardIndex, Store, StoreError, Stores, TarSample, Wanted};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    captions::{MAX_CAPTIONS, field, lines},
    sample::{MAX_PICTURE, Trouble, check_size, fingerprint, sample, say_passed_over, store_error},
};

/// Names of shards in a folder.
const SHARDS: [&str; 3] = [".tar", ".tar.gz", ".tgz"];

/// Captioned pictures in tar shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebDataset {
    /// The shards to train on: paths from the recipe's folder, `s3://bucket/…` or `https://…`; `{00000..00012}`, `*.tar` or
    /// a folder for many. Shards packed with gzip are unpacked into temporary files at the start.
    pub shards: Vec<String>,
    /// Side in pixels that every picture is cropped and resized to.
    pub size: usize,
    /// Suffixes of the member that is the picture, which may be the end of a longer one (`jpg` of `left.jpg`); the first one
    /// that a sample has.
    #[serde(default = "pictures")]
    pub pictures: Vec<String>,
    /// Which member has the caption.
    #[serde(default)]
    pub caption: CaptionMember,
    /// The shards of the split `test_pair`.
    #[serde(default)]
    pub test_pair: Vec<String>,
    /// The shards of the split `test_concept`.
    #[serde(default)]
    pub test_concept: Vec<String>,
    /// Where the positions of the samples are kept, so that the next run need not look for them.
    #[serde(default)]
    pub index: Keep,
}

inventory::submit!(Entry::data_source::<WebDataset>(
    "WebDataset",
    "tar shards, as webdataset and img2dataset write them"
));

fn pictures() -> Vec<String> {
    SUFFIXES.map(str::to_owned).into()
}

/// Which member of a sample has the caption.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaptionMember {
    /// The one that ends in `.txt`; each of its lines is a caption.
    #[default]
    Text,
    /// This field of the one that ends in `.json`: a text, or a list of texts.
    Json(String),
    /// The one that ends so, such as `caption.txt`; each of its lines is a caption.
    Member(String),
}

/// Bytes between picture and caption up to which both come with one request.
const GAP: u64 = 64 << 10;

impl DataSource for WebDataset {
    fn open_beside(&self, split: Split, base: &Path) -> Result<Box<dyn Dataset>, PluginError> {
        check_size(self.size)?;
        let shards = match split {
            Split::Train => &self.shards,
            Split::TestPair => &self.test_pair,
            Split::TestConcept => &self.test_concept,
        };
        if self.shards.is_empty() || self.pictures.is_empty() {
            let field = if self.shards.is_empty() { "shards" } else { "pictures" };
            return Err(PluginError::Field { field, problem: "expected at least one, got none".to_owned() });
        }
        let (mut stores, mut named) = (Stores::default(), Vec::new());
        for text in shards {
            named.extend(stores.files(text, base, &SHARDS).map_err(store_error)?);
        }
        let indexes = ShardIndex::all(&named, &self.wanted(), &self.index.cache()).map_err(store_error)?;
        let (mut len, mut passed_over) = (0, PassedOver::default());
        let mut shards = Vec::new();
        for ((store, name), mut index) in named.into_iter().zip(indexes) {
            let first = len;
            len += index.samples.len();
            passed_over.extend(std::mem::take(&mut index.passed_over));
            shards.push(Shard { store, name, index, first });
        }
        if split == Split::Train {
            say_passed_over(&self.shards.join(", "), len, &passed_over);
        }
        Ok(Box::new(ShardSplit { shards, len, size: self.size, caption: self.caption.clone() }))
    }

    fn size(&self) -> usize {
        self.size
    }
}

impl WebDataset {
    fn wanted(&self) -> Wanted {
        let caption = match &self.caption {
            CaptionMember::Text => "txt",
            CaptionMember::Json(_) => "json",
            CaptionMember::Member(suffix) => suffix,
        };
        let plain = |suffix: &str| suffix.trim_start_matches('.').to_lowercase();
        Wanted {
            pictures: self.pictures.iter().map(|suffix| plain(suffix)).collect(),
            caption: plain(caption),
        }
    }
}

struct Shard {
    store: Arc<Store>,
    name: String,
    index: ShardIndex,
    /// Index of its first sample in the split.
    first: usize,
}

impl Shard {
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.index.read(&self.store, &self.name, range)
    }

    /// The bytes of picture and caption.
    fn both(&self, TarSample { picture, caption }: TarSample) -> Result<(Vec<u8>, Vec<u8>), Trouble> {
        bounded("picture", picture, MAX_PICTURE)?;
        bounded("caption", caption, MAX_CAPTIONS)?;
        let [first, second] =
            if picture.start() < caption.start() { [picture, caption] } else { [caption, picture] };
        let between = second.start() - first.start();
        let (mut a, b) = if between.saturating_sub(first.length()) <= GAP {
            let mut all = self.read(first.start()..second.range().end)?;
            let b = all.split_off(between as usize);
            (all, b)
        } else {
            (self.read(first.range())?, self.read(second.range())?)
        };
        a.truncate(first.length() as usize);
        Ok(if first == picture { (a, b) } else { (b, a) })
    }
}

/// Refuses a member that is missing, empty or too long.
fn bounded(what: &str, extent: Extent, most: u64) -> Result<(), Trouble> {
    match extent.length() {
        0 => Err(Trouble::Bad(format!("it has no {what}"))),
        length if length > most => Err(Trouble::Bad(format!("its {what} has more than {most} bytes"))),
        _ => Ok(()),
    }
}

struct ShardSplit {
    shards: Vec<Shard>,
    len: usize,
    size: usize,
    caption: CaptionMember,
}

impl ShardSplit {
    /// The shard of a sample, and the sample.
    fn at(&self, index: usize) -> Option<(&Shard, TarSample)> {
        let after = self.shards.partition_point(|shard| shard.first <= index);
        let shard = self.shards.get(after.checked_sub(1)?)?;
        Some((shard, *shard.index.samples.get(index - shard.first)?))
    }

    fn captions(&self, bytes: Vec<u8>) -> Result<Vec<String>, String> {
        match &self.caption {
            CaptionMember::Text | CaptionMember::Member(_) => lines(bytes),
            CaptionMember::Json(name) => field(bytes, name),
        }
    }

    fn sample(&self, shard: &Shard, sample_at: TarSample, draw: &Draw) -> Result<Sample, Trouble> {
        let (picture, caption) = shard.both(sample_at)?;
        Ok(sample(&picture, &self.captions(caption)?, self.size, draw)?)
    }

    fn first_caption(&self, shard: &Shard, extent: Extent) -> Result<String, Trouble> {
        bounded("caption", extent, MAX_CAPTIONS)?;
        Ok(self.captions(shard.read(extent.range())?)?.swap_remove(0))
    }
}

/// A sample's place in its shard, for messages.
fn file(shard: &Shard, sample: TarSample) -> String {
    format!("{} at byte {}", shard.store.name(&shard.name), sample.picture.start())
}

impl Dataset for ShardSplit {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize, draw: &Draw) -> Result<Sample, PluginError> {
        let Some((shard, at)) = self.at(index) else {
            return Err(Trouble::Bad(format!("there are only {}", self.len)).of(index, "the shards"));
        };
        self.sample(shard, at, draw).map_err(|trouble| trouble.of(index, file(shard, at)))
    }

    /// The first caption; empty for a sample without one, which `get` refuses.
    fn caption(&self, index: usize) -> String {
        let Some((shard, at)) = self.at(index) else { return String::new() };
        self.first_caption(shard, at.caption).unwrap_or_else(|trouble| {
            warn!("{}", trouble.of(index, file(shard, at)));
            String::new()
        })
    }

    fn fingerprint(&self) -> String {
        let parts = self.shards.iter().map(|shard| {
            let index = &shard.index;
            format!("{} {} {}", shard.name, index.stat.length, index.samples.len())
        });
        fingerprint(parts)
    }
}
