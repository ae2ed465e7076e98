//! A folder of pictures with captions, on this machine, in a bucket or on a web server.
//!
//! Pictures are decoded when they are wanted, cropped to their central square and resized by area average.
//! One that cannot be used is an error of that sample alone; the loader replaces and counts it.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Component, Path},
};

use add_plugin::{DataSource, Dataset, Draw, Entry, PluginError, Sample, Split, inventory};
use add_store::{Place, Store};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::sample::{
    MAX_CAPTIONS, MAX_PICTURE, PICTURES, Trouble, check_size, checked, lines, sample, store_error,
};

/// Pictures (PNG, JPEG, WebP) below a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFolder {
    /// The folder: a path, `s3://bucket/prefix`, `https://host/path`. Most web servers cannot list their files, so that
    /// one of them needs `captions: Jsonl(…)`.
    pub path: Place,
    /// Side in pixels that every picture is cropped and resized to.
    pub size: usize,
    /// Where the captions are.
    #[serde(default)]
    pub captions: Captions,
}

inventory::submit!(Entry::data_source::<ImageFolder>("ImageFolder", "a folder of pictures with captions"));

/// Where a folder's captions are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Captions {
    /// `a.png` has its captions in `a.txt`, one a line. Every picture belongs to the split `train`.
    #[default]
    Sidecar,
    /// One file inside the folder, a line per picture: `{"file": "b/a.png", "captions": ["…"], "split": "train"}`;
    /// `"caption": "…"` does for a single one, and the split is `train` unless said.
    Jsonl(String),
}

/// A line of the list of captions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    file: String,
    #[serde(default)]
    caption: Option<String>,
    #[serde(default)]
    captions: Vec<String>,
    #[serde(default = "train")]
    split: Split,
}

fn train() -> Split {
    Split::Train
}

impl DataSource for ImageFolder {
    fn open(&self, split: Split) -> Result<Box<dyn Dataset>, PluginError> {
        check_size(self.size)?;
        let store = Store::open(&self.path).map_err(store_error)?;
        let pictures = match &self.captions {
            Captions::Sidecar if split == Split::Train => with_sidecars(&store)?,
            Captions::Sidecar => Vec::new(),
            Captions::Jsonl(list) => listed(&store, list, split)?,
        };
        Ok(Box::new(FolderSplit { store, pictures, size: self.size }))
    }

    fn size(&self) -> usize {
        self.size
    }
}

/// Every picture of a store.
fn with_sidecars(store: &Store) -> Result<Vec<Picture>, PluginError> {
    let mut names = store.list().map_err(store_error)?;
    names.retain(|name| {
        let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| PICTURES.iter().any(|known| extension.eq_ignore_ascii_case(known)))
    });
    // The order in which a folder is listed differs from machine to machine.
    names.sort_by(|a, b| Path::new(a).cmp(Path::new(b)));
    Ok(names.into_iter().map(|name| Picture { name, captions: Found::Beside }).collect())
}

/// The pictures that a list names; read line by line, since it may be long.
fn listed(store: &Store, list: &str, split: Split) -> Result<Vec<Picture>, PluginError> {
    let file = |problem| PluginError::File { path: store.name(list).into(), problem };
    let (mut lines, mut bytes) = (BufReader::new(store.reader(list).map_err(store_error)?), Vec::new());
    let mut pictures = Vec::new();
    for number in 1_usize.. {
        let at_line = |problem: String| file(format!("line {number}: {problem}"));
        bytes.clear();
        let length = lines.by_ref().take(MAX_CAPTIONS + 1).read_until(b'\n', &mut bytes);
        match length.map_err(|error| at_line(error.to_string()))? {
            0 => break,
            length if length as u64 > MAX_CAPTIONS => {
                return Err(at_line(format!("longer than {MAX_CAPTIONS} bytes")));
            }
            _ => {}
        }
        let line = str::from_utf8(&bytes).map_err(|error| at_line(format!("not UTF-8: {error}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(line).map_err(|error| at_line(error.to_string()))?;
        let inside = Path::new(&line.file).components().all(|c| matches!(c, Component::Normal(_)));
        if line.file.is_empty() || !inside {
            return Err(at_line(format!("`{}` is no path inside the folder", line.file)));
        }
        if line.split == split {
            let captions = checked(line.caption.into_iter().chain(line.captions).collect());
            pictures.push(Picture { name: line.file, captions: Found::Listed(captions) });
        }
    }
    Ok(pictures)
}

struct Picture {
    name: String,
    captions: Found,
}

/// Where a picture's captions were found.
enum Found {
    /// In the file beside it, which is read when they are wanted.
    Beside,
    /// In the list: these, or why there are none.
    Listed(Result<Vec<String>, String>),
}

struct FolderSplit {
    store: Store,
    pictures: Vec<Picture>,
    size: usize,
}

impl FolderSplit {
    fn captions(&self, picture: &Picture) -> Result<Vec<String>, Trouble> {
        match &picture.captions {
            Found::Listed(captions) => Ok(captions.clone()?),
            Found::Beside => {
                let name = Path::new(&picture.name).with_extension("txt");
                match self.store.read(&name.to_string_lossy(), MAX_CAPTIONS).map_err(Trouble::from) {
                    Ok(bytes) => Ok(lines(bytes)?),
                    Err(Trouble::Bad(problem)) => Err(Trouble::Bad(format!("its captions: {problem}"))),
                    Err(trouble) => Err(trouble),
                }
            }
        }
    }

    fn sample(&self, picture: &Picture, draw: &Draw) -> Result<Sample, Trouble> {
        let captions = self.captions(picture)?;
        let bytes = self.store.read(&picture.name, MAX_PICTURE)?;
        Ok(sample(&bytes, &captions, self.size, draw)?)
    }
}

impl Dataset for FolderSplit {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn get(&self, index: usize, draw: &Draw) -> Result<Sample, PluginError> {
        let Some(picture) = self.pictures.get(index) else {
            let problem = format!("there are only {}", self.pictures.len());
            return Err(Trouble::Bad(problem).of(index, self.store.name("")));
        };
        self.sample(picture, draw).map_err(|trouble| trouble.of(index, &picture.name))
    }

    /// The first caption; empty for a picture without one, which `get` refuses.
    fn caption(&self, index: usize) -> String {
        let picture = &self.pictures[index];
        match self.captions(picture) {
            Ok(mut captions) => captions.swap_remove(0),
            Err(trouble) => {
                warn!("{}", trouble.of(index, &picture.name));
                String::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use add_data::{RgbImage, write_png};
    use tempfile::TempDir;

    use super::*;

    const DRAW: Draw = Draw { seed: 1, step: 0, index: 0 };

    fn place(path: &Path) -> Place {
        Place::parse(path.to_str().expect("UTF-8")).expect("a path")
    }

    /// Three pictures, one of them damaged, one without captions.
    fn folder() -> TempDir {
        let folder = TempDir::new().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).expect("a new folder");
        let picture = RgbImage::from_fn(6, 4, |x, _| if x < 1 { [0; 3] } else { [255; 3] }.into());
        write_png(&at("sub/b.PNG"), &picture, &[]).expect("writable");
        write_png(&at("c.png"), &picture, &[]).expect("writable");
        fs::write(at("a.jpg"), b"not a picture").expect("writable");
        fs::write(at("a.txt"), "damaged").expect("writable");
        fs::write(at("sub/b.txt"), " a white square \n\nwhite\n").expect("writable");
        folder
    }

    fn open(folder: &TempDir, captions: Captions, split: Split) -> Result<Box<dyn Dataset>, PluginError> {
        ImageFolder { path: place(folder.path()), size: 2, captions }.open(split)
    }

    #[test]
    fn sidecars_caption_pictures_and_bad_ones_are_named() {
        let folder = folder();
        let data = open(&folder, Captions::Sidecar, Split::Train).expect("a folder");
        assert_eq!(
            (0..data.len()).map(|i| data.caption(i)).collect::<Vec<_>>(),
            ["damaged", "", "a white square"]
        );
        let sample = data.get(2, &DRAW).expect("a good picture");
        // The central square leaves out the first and the last column, and with it the black one.
        assert_eq!((sample.size, sample.pixels), (2, vec![1.0; 12]));
        let problems = [0, 1, 3].map(|i| data.get(i, &DRAW).unwrap_err().to_string());
        assert!(problems[0].starts_with("sample 0, a.jpg: cannot decode"), "{}", problems[0]);
        assert_eq!(problems[1], "sample 1, c.png: its captions: there is no such file");
        assert!(problems[2].contains("there are only 3"), "{}", problems[2]);
        assert!(open(&folder, Captions::Sidecar, Split::TestPair).expect("a folder").is_empty());
    }

    #[test]
    fn a_list_gives_captions_and_splits() {
        let folder = folder();
        let list = "{\"file\": \"sub/b.PNG\", \"captions\": [\"one\", \"two\"]}\n\n\
                    {\"file\": \"c.png\", \"caption\": \"three\", \"split\": \"test_pair\"}\n";
        fs::write(folder.path().join("list.jsonl"), list).expect("writable");
        let jsonl = || Captions::Jsonl("list.jsonl".into());
        let train = open(&folder, jsonl(), Split::Train).expect("a list");
        assert_eq!((train.len(), train.caption(0)), (1, "one".to_owned()));
        let drawn: Vec<_> = (0..20).map(|index| Draw { index, ..DRAW }).collect();
        assert!(drawn.iter().any(|draw| train.get(0, draw).expect("good").caption == "two"));
        let pair = open(&folder, jsonl(), Split::TestPair).expect("a list");
        assert_eq!(pair.get(0, &DRAW).expect("good").caption, "three");
    }

    #[test]
    fn a_bad_list_is_refused_with_its_line() {
        let folder = folder();
        for (line, part) in [
            ("{\"file\": \"../x.png\", \"caption\": \"a\"}", "no path inside the folder"),
            ("{\"file\": \"/x.png\", \"caption\": \"a\"}", "no path inside the folder"),
            ("{\"file\": \"x.png\", \"capton\": \"a\"}", "unknown field `capton`"),
            ("nonsense", "expected"),
        ] {
            fs::write(folder.path().join("list.jsonl"), format!("\n{line}\n")).expect("writable");
            let error = open(&folder, Captions::Jsonl("list.jsonl".into()), Split::Train).err();
            let error = error.expect("a bad line").to_string();
            assert!(error.contains("list.jsonl: line 2: ") && error.contains(part), "{error}");
        }
        let missing = open(&folder, Captions::Jsonl("none.jsonl".into()), Split::Train).err();
        assert!(missing.expect("no file").to_string().contains("none.jsonl"));
    }

    #[test]
    fn a_missing_folder_and_a_size_of_none_are_refused() {
        let folder = ImageFolder { path: place(Path::new("no/such")), size: 2, captions: Captions::Sidecar };
        assert!(folder.open(Split::Train).err().expect("missing").to_string().contains("no/such"));
        let zero = ImageFolder { path: place(Path::new(".")), size: 0, captions: Captions::Sidecar };
        assert!(matches!(zero.open(Split::Train), Err(PluginError::Field { field: "size", .. })));
    }
}
