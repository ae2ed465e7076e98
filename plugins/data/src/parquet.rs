//! Parquet files that hold the pictures themselves, as Hugging Face's `datasets` and img2dataset write them.

use std::{path::Path, sync::Arc};

use add_plugin::{DataSource, Dataset, Draw, Entry, PluginError, Sample, Split, inventory};
use add_store::{Store, Stores};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    captions::checked,
    parquet_file::{ParquetFile, texts},
    sample::{MAX_PICTURE, Trouble, check_size, fingerprint, none_there, sample, store_error},
};

/// Columns that hold pictures, unless the recipe names one.
const PICTURES: [&str; 6] = ["image", "img", "picture", "jpg", "png", "webp"];
/// Columns that hold captions, unless the recipe names one.
const CAPTIONS: [&str; 4] = ["caption", "captions", "text", "prompt"];
/// Names of such files.
const SUFFIXES: [&str; 1] = [".parquet"];

/// Captioned pictures in Parquet files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parquet {
    /// The files to train on: paths from the recipe's folder, `s3://bucket/…` or `https://…`; `{00000..00012}`, `*.parquet`
    /// or a folder for many.
    files: Vec<String>,
    /// Side in pixels that every picture is cropped and resized to.
    size: usize,
    /// The column of the pictures: bytes, or Hugging Face's `image` with its `bytes`.
    #[serde(default)]
    picture: Option<String>,
    /// The column of the captions: a text, or a list of texts.
    #[serde(default)]
    caption: Option<String>,
    /// The files of the split `test_pair`.
    #[serde(default)]
    test_pair: Vec<String>,
    /// The files of the split `test_concept`.
    #[serde(default)]
    test_concept: Vec<String>,
}

inventory::submit!(Entry::data_source::<Parquet>(
    "Parquet",
    "pictures in Parquet files, as Hugging Face has them"
));

impl DataSource for Parquet {
    fn open_beside(&self, split: Split, base: &Path) -> Result<Box<dyn Dataset>, PluginError> {
        check_size(self.size)?;
        let (field, files) = match split {
            Split::Train => ("files", &self.files),
            Split::TestPair => ("test_pair", &self.test_pair),
            Split::TestConcept => ("test_concept", &self.test_concept),
        };
        if self.files.is_empty() {
            return Err(PluginError::Field { field, problem: "expected at least one, got none".to_owned() });
        }
        let (mut stores, mut parts, mut len) = (Stores::default(), Vec::new(), 0);
        for text in files {
            for (store, name) in stores.files(text, base, &SUFFIXES).map_err(store_error)? {
                let part = self.part(&store, &name, &mut len)?;
                parts.push(part);
            }
        }
        if split == Split::Train && len == 0 {
            return Err(none_there(files.join(", "), "rows of Parquet files", None));
        }
        Ok(Box::new(Rows { parts, len, size: self.size }))
    }

    fn size(&self) -> usize {
        self.size
    }
}

impl Parquet {
    /// Opens one file, whose first row is sample `len`.
    fn part(&self, store: &Arc<Store>, name: &str, len: &mut usize) -> Result<Part, PluginError> {
        let place = store.name(name);
        let refused = |problem| PluginError::File { path: place.clone().into(), problem };
        let file = ParquetFile::open(store, name).map_err(|trouble| match trouble {
            Trouble::Bad(problem) => refused(problem),
            Trouble::Store(error) => store_error(error),
        })?;
        let choose = |stated: &Option<String>, known: &[&str], what: &str| {
            let names = file.columns();
            let is_wanted = |name: &&str| match stated {
                Some(stated) => name == stated,
                None => known.contains(name),
            };
            let expected = stated.as_ref().map_or_else(|| known.join("`, `"), Clone::clone);
            names.iter().copied().find(is_wanted).map(str::to_owned).ok_or_else(|| {
                let found = names.join("`, `");
                refused(format!(
                    "expected a column of {what} (`{expected}`), found `{}`",
                    found.escape_debug()
                ))
            })
        };
        let picture = choose(&self.picture, &PICTURES, "pictures")?;
        let caption = choose(&self.caption, &CAPTIONS, "captions")?;
        let picture = file.column(&picture, &["bytes"]).map_err(refused)?;
        let caption = file.column(&caption, &[]).map_err(refused)?;
        let mut first = Vec::new();
        for group in 0..file.groups() {
            first.push(*len);
            *len += file.rows(group);
        }
        Ok(Part { file, place, picture, caption, first })
    }
}

/// One file.
struct Part {
    file: ParquetFile,
    place: String,
    /// Numbers of its columns.
    picture: usize,
    caption: usize,
    /// Index of each group's first row in the split.
    first: Vec<usize>,
}

impl Part {
    /// The one value of a row, if it has one.
    fn value(&self, column: usize, (group, row): (usize, usize)) -> Result<Vec<Vec<u8>>, Trouble> {
        Ok(self.file.read(column, group, row..row + 1)?.pop().unwrap_or_default())
    }

    fn captions(&self, at: (usize, usize)) -> Result<Vec<String>, Trouble> {
        Ok(texts(&self.value(self.caption, at)?).and_then(checked)?)
    }

    fn sample(&self, at: (usize, usize), size: usize, draw: &Draw) -> Result<Sample, Trouble> {
        let captions = self.captions(at)?;
        let picture = self.value(self.picture, at)?.pop().filter(|bytes| !bytes.is_empty());
        let picture = picture.ok_or_else(|| "it has no picture".to_owned())?;
        if picture.len() as u64 > MAX_PICTURE {
            return Err(Trouble::Bad(format!("its picture has more than {MAX_PICTURE} bytes")));
        }
        Ok(sample(&picture, &captions, size, draw)?)
    }
}

/// The rows of all files.
struct Rows {
    parts: Vec<Part>,
    len: usize,
    size: usize,
}

impl Rows {
    /// The file of a sample, with its group and row there.
    fn at(&self, index: usize) -> Option<(&Part, (usize, usize))> {
        if index >= self.len {
            return None;
        }
        // Files and groups without rows share the first index of the next one.
        let starts = |part: &Part| part.first.first().is_none_or(|first| *first <= index);
        let part = self.parts[..self.parts.partition_point(starts)]
            .iter()
            .rev()
            .find(|part| !part.first.is_empty())?;
        let group = part.first.partition_point(|first| *first <= index) - 1;
        Some((part, (group, index - part.first[group])))
    }
}

/// A row's place, for messages.
fn place(part: &Part, (group, row): (usize, usize)) -> String {
    format!("{}, group {group}, row {row}", part.place)
}

impl Dataset for Rows {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize, draw: &Draw) -> Result<Sample, PluginError> {
        let Some((part, at)) = self.at(index) else {
            return Err(Trouble::Bad(format!("there are only {}", self.len)).of(index, "the files"));
        };
        part.sample(at, self.size, draw).map_err(|trouble| trouble.of(index, place(part, at)))
    }

    /// The first caption; empty for a row without one, which `get` refuses.
    fn caption(&self, index: usize) -> String {
        let Some((part, at)) = self.at(index) else { return String::new() };
        match part.captions(at) {
            Ok(mut captions) => captions.swap_remove(0),
            Err(trouble) => {
                warn!("{}", trouble.of(index, place(part, at)));
                String::new()
            }
        }
    }

    fn fingerprint(&self) -> String {
        let parts = self.parts.iter().map(|part| {
            let groups = (0..part.file.groups()).map(|group| part.file.rows(group)).collect::<Vec<_>>();
            format!("{} {groups:?}", part.place.rsplit('/').next().unwrap_or_default())
        });
        fingerprint(parts)
    }
}
