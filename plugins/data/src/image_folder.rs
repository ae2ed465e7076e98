//! A folder of pictures with captions.
//!
//! Pictures are decoded when they are wanted, cropped to their central square and resized by area average.
//! One that cannot be used is an error of that sample alone; the loader replaces and counts it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Component, Path, PathBuf},
};

use add_data::{decode_rgb, square, to_planes};
use add_plugin::{DataSource, Dataset, Draw, Entry, PluginError, Purpose, Sample, Split, inventory};
use serde::{Deserialize, Serialize};

/// Pictures (PNG, JPEG, WebP) below a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFolder {
    /// The folder.
    path: PathBuf,
    /// Side in pixels that every picture is cropped and resized to.
    size: usize,
    /// Where the captions are.
    #[serde(default)]
    captions: Captions,
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

/// Largest size of an encoded picture, in bytes.
const MAX_FILE: u64 = 64 << 20;
/// Largest size of the captions of one picture, in bytes: of its file, or of its line in a list.
const MAX_LINE: u64 = 1 << 20;
/// Longest caption, in characters.
const MAX_CAPTION: usize = 2000;
/// Largest side that pictures may be resized to.
const MAX_SIZE: usize = 4096;

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
        if !(1..=MAX_SIZE).contains(&self.size) {
            let problem = format!("expected 1 to {MAX_SIZE} pixels, got {}", self.size);
            return Err(PluginError::Field { field: "size", problem });
        }
        let pictures = match &self.captions {
            Captions::Sidecar if split == Split::Train => self.with_sidecars()?,
            Captions::Sidecar => Vec::new(),
            Captions::Jsonl(list) => self.listed(&self.path.join(list), split)?,
        };
        Ok(Box::new(FolderSplit { pictures, size: self.size }))
    }

    fn size(&self) -> usize {
        self.size
    }
}

impl ImageFolder {
    fn with_sidecars(&self) -> Result<Vec<Picture>, PluginError> {
        let mut paths = Vec::new();
        collect_pictures(&self.path, &mut paths)?;
        // The order in which a folder is listed differs from machine to machine.
        paths.sort();
        Ok(paths
            .into_iter()
            .map(|path| {
                let captions = read(&path.with_extension("txt"), MAX_LINE).and_then(|bytes| {
                    let text =
                        String::from_utf8(bytes).map_err(|_| "its captions are not UTF-8".to_owned())?;
                    checked(text.lines().map(str::to_owned).collect())
                });
                Picture { path, captions }
            })
            .collect())
    }

    fn listed(&self, list: &Path, split: Split) -> Result<Vec<Picture>, PluginError> {
        let file = |problem| PluginError::File { path: list.to_owned(), problem };
        let opened = add_files::open(list).map_err(|error| file(error.to_string()))?.0;
        let (mut lines, mut bytes) = (BufReader::new(opened), Vec::new());
        let mut pictures = Vec::new();
        for number in 1_usize.. {
            let at_line = |problem: String| file(format!("line {number}: {problem}"));
            bytes.clear();
            let length = lines.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut bytes);
            match length.map_err(|error| at_line(error.to_string()))? {
                0 => break,
                length if length as u64 > MAX_LINE => {
                    return Err(at_line(format!("longer than {MAX_LINE} bytes")));
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
                pictures.push(Picture { path: self.path.join(line.file), captions });
            }
        }
        Ok(pictures)
    }
}

/// Every picture below `folder`; links to folders are not followed.
fn collect_pictures(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), PluginError> {
    let failed = |error: std::io::Error| PluginError::File {
        path: folder.to_owned(),
        problem: format!("{error}; expected a folder of pictures"),
    };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            collect_pictures(&path, found)?;
        } else if let Some(extension) = path.extension().and_then(|e| e.to_str())
            && ["png", "jpg", "jpeg", "webp"].iter().any(|known| extension.eq_ignore_ascii_case(known))
        {
            found.push(path);
        }
    }
    Ok(())
}

/// A file's bytes, unless it is larger than `limit`.
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let name = path.file_name().unwrap_or(path.as_os_str()).display();
    add_files::read(path, limit).map_err(|error| format!("{name}: {error}"))
}

/// The captions that say something.
fn checked(captions: Vec<String>) -> Result<Vec<String>, String> {
    let captions: Vec<_> = captions.iter().map(|c| c.trim().to_owned()).filter(|c| !c.is_empty()).collect();
    match captions.iter().map(|c| c.chars().count()).max() {
        None => Err("it has no caption".to_owned()),
        Some(longest) if longest > MAX_CAPTION => {
            Err(format!("a caption has {longest} characters; at most {MAX_CAPTION} are allowed"))
        }
        Some(_) => Ok(captions),
    }
}

struct Picture {
    path: PathBuf,
    captions: Result<Vec<String>, String>,
}

struct FolderSplit {
    pictures: Vec<Picture>,
    size: usize,
}

impl Dataset for FolderSplit {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn get(&self, index: usize, draw: &Draw) -> Result<Sample, PluginError> {
        let bad = |problem: String| PluginError::Sample { index, problem };
        let Some(picture) = self.pictures.get(index) else {
            return Err(bad(format!("there are only {}", self.pictures.len())));
        };
        let captions = picture.captions.as_ref().map_err(|problem| bad(problem.clone()))?;
        let bytes = read(&picture.path, MAX_FILE).map_err(bad)?;
        let decoded = decode_rgb(&bytes).map_err(|error| bad(error.to_string()))?;
        let caption = captions[draw.below(Purpose::Sample, captions.len())].clone();
        Ok(Sample { pixels: to_planes(&square(&decoded, self.size as u32)), size: self.size, caption })
    }

    /// The first caption; empty for a picture without one, which `get` refuses.
    fn caption(&self, index: usize) -> String {
        match &self.pictures[index].captions {
            Ok(captions) => captions[0].clone(),
            Err(_) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use add_data::{RgbImage, write_png};
    use tempfile::TempDir;

    use super::*;

    const DRAW: Draw = Draw { seed: 1, step: 0, index: 0 };

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
        ImageFolder { path: folder.path().to_owned(), size: 2, captions }.open(split)
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
        assert!(problems[0].starts_with("sample 0: cannot decode"), "{}", problems[0]);
        assert!(problems[1].contains("c.txt"), "{}", problems[1]);
        assert_eq!(problems[2], "sample 3: there are only 3");
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
    fn an_endless_caption_and_a_missing_folder_are_refused() {
        assert!(checked(vec!["x".repeat(MAX_CAPTION + 1)]).is_err());
        assert_eq!(checked(vec![" ".into(), "y ".into()]), Ok(vec!["y".to_owned()]));
        let folder = ImageFolder { path: "no/such".into(), size: 2, captions: Captions::Sidecar };
        assert!(folder.open(Split::Train).err().expect("missing").to_string().contains("no/such"));
        let zero = ImageFolder { path: ".".into(), size: 0, captions: Captions::Sidecar };
        assert!(matches!(zero.open(Split::Train), Err(PluginError::Field { field: "size", .. })));
    }
}
