//! A folder of pictures with captions, on this machine, in a bucket or on a web server.
//!
//! Pictures are decoded when they are wanted, cropped to their central square and resized by area average.
//! One that cannot be used is an error of that sample alone; the loader replaces and counts it.

use std::{collections::HashSet, path::Path, sync::Arc};

use add_plugin::{DataSource, Dataset, Entry, PluginError, Split, inventory};
use add_store::{Listing, PassedOver, Place, Store};
use serde::{Deserialize, Serialize};

use crate::{
    folder_split::{FolderSplit, Found, Picture},
    list::{self, Fields, Format},
    repeats::{self, Repeats},
    sample::{check_size, expected_pictures, none_there, say_passed_over, store_error},
    sidecars::{CAPTIONS, composed, count_other, is_picture, pair, split},
};

/// Pictures (PNG, JPEG, WebP, BMP, TIFF, a GIF's first frame) below a folder. Hidden files are left out, links to folders are
/// followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFolder {
    /// The folder: a path from the recipe's folder, `s3://bucket/prefix`, `https://host/path`. Most web servers cannot list
    /// their files, so that one of them needs a list in `captions`.
    pub path: Place,
    /// Side in pixels that every picture is cropped and resized to.
    pub size: usize,
    /// Where the captions are.
    #[serde(default)]
    pub captions: Captions,
    /// Which fields of a list name the picture and hold its captions.
    #[serde(default)]
    pub fields: Fields,
    /// Whether folders such as `10_cat` say how often their pictures come. It must be stated where they differ.
    #[serde(default)]
    pub repeats: Option<Repeats>,
}

inventory::submit!(Entry::data_source::<ImageFolder>("ImageFolder", "a folder of pictures with captions"));

/// Where a folder's captions are. Those beside a picture are one a line, and belong to the split `train`, as does each line
/// of a list that has no field `split`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Captions {
    /// In `metadata.jsonl`, `metadata.csv` or `metadata.parquet`, as Hugging Face's imagefolder has them, in any folder for
    /// the pictures there; where there is no such list, beside each picture as in `Sidecar`.
    #[default]
    Auto,
    /// `a.png` has its captions in `a.txt`, or else in `a.caption`.
    Sidecar,
    /// In the file beside each picture that has this suffix.
    Suffix(String),
    /// In one file inside the folder, a JSON object per line: `{"file": "b/a.png", "captions": ["…"], "split": "train"}`;
    /// `"caption": "…"` does for a single one. Further fields are no harm.
    Jsonl(String),
    /// In one file inside the folder, whose first line names the columns.
    Csv(String),
    /// In one Parquet file inside the folder.
    Parquet(String),
}

impl DataSource for ImageFolder {
    fn open_beside(&self, split: Split, base: &Path) -> Result<Box<dyn Dataset>, PluginError> {
        check_size(self.size)?;
        let store =
            Arc::new(Store::open(&self.path.beside(base).map_err(store_error)?).map_err(store_error)?);
        let (pictures, passed_over) = self.pictures(&store, split)?;
        let place = store.place().to_string();
        if split == Split::Train {
            if pictures.is_empty() {
                return Err(none_there(place, &expected_pictures(), Some(&passed_over)));
            }
            say_passed_over(&place, pictures.len(), &passed_over);
        }
        let names: Vec<&str> = match self.captions {
            Captions::Auto | Captions::Sidecar | Captions::Suffix(_) => {
                pictures.iter().map(|picture| picture.name.as_str()).collect()
            }
            Captions::Jsonl(_) | Captions::Csv(_) | Captions::Parquet(_) => Vec::new(),
        };
        let order = repeats::order(self.repeats.filter(|_| !names.is_empty()), &names)?;
        Ok(Box::new(FolderSplit { store, pictures, order, size: self.size }))
    }

    fn size(&self) -> usize {
        self.size
    }
}

impl ImageFolder {
    /// The pictures of a split, and what else is there.
    fn pictures(&self, store: &Arc<Store>, split: Split) -> Result<(Vec<Picture>, PassedOver), PluginError> {
        let one = |name: &str, format: Format| -> Result<(Vec<Picture>, PassedOver), PluginError> {
            // Hugging Face's lists name pictures from their own folder, ours from that of the recipe.
            let (folder, base) = name.rsplit_once('/').unwrap_or(("", name));
            let folder = if base.starts_with("metadata.") { folder } else { "" };
            let lines = list::read(store, name, format, &self.fields, folder)?;
            let count = lines.len();
            let pictures = of_split(lines, split);
            if split == Split::Train && pictures.is_empty() {
                let expected = format!("lines of the split train among its {count}");
                return Err(none_there(store.name(name), &expected, None));
            }
            Ok((pictures, PassedOver::default()))
        };
        match &self.captions {
            Captions::Jsonl(name) => one(name, Format::JsonLines),
            Captions::Csv(name) => one(name, Format::Csv),
            Captions::Parquet(name) => one(name, Format::Parquet),
            Captions::Sidecar => Ok(beside(store.list().map_err(store_error)?, &CAPTIONS, split)),
            Captions::Suffix(suffix) => {
                let suffix = suffix.trim_start_matches('.').to_lowercase();
                Ok(beside(store.list().map_err(store_error)?, &[&suffix], split))
            }
            Captions::Auto => {
                let listing = store.list().map_err(store_error)?;
                let lists = metadata(store, &listing.names)?;
                if lists.is_empty() {
                    return Ok(beside(listing, &CAPTIONS, split));
                }
                self.in_lists(store, listing, &lists, split)
            }
        }
    }

    /// The pictures that Hugging Face's lists name.
    fn in_lists(
        &self,
        store: &Arc<Store>,
        listing: Listing,
        lists: &[(String, Format)],
        split: Split,
    ) -> Result<(Vec<Picture>, PassedOver), PluginError> {
        let mut pictures = Vec::new();
        let mut named = HashSet::new();
        for (name, format) in lists {
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            let lines = list::read(store, name, *format, &self.fields, folder)?;
            named.extend(lines.iter().map(|line| composed(&line.file).into_owned()));
            pictures.extend(of_split(lines, split));
        }
        let Listing { names, mut passed_over } = listing;
        for name in names.iter().filter(|name| !lists.iter().any(|(list, _)| list == *name)) {
            let suffix = split_suffix(name);
            if !is_picture(&suffix) {
                count_other(&mut passed_over, name, &suffix);
            } else if !named.contains(composed(name).as_ref()) {
                passed_over.add("named in no list", name);
            }
        }
        Ok((pictures, passed_over))
    }
}

fn split_suffix(name: &str) -> String {
    split(name).1
}

/// Hugging Face's lists among the files, at most one of each folder.
fn metadata(store: &Store, names: &[String]) -> Result<Vec<(String, Format)>, PluginError> {
    let mut lists: Vec<(String, Format)> = Vec::new();
    for name in names {
        let (folder, base) = name.rsplit_once('/').unwrap_or(("", name));
        let Some((_, format)) = Format::METADATA.into_iter().find(|(known, _)| *known == base) else {
            continue;
        };
        if let Some((other, _)) =
            lists.iter().find(|(list, _)| list.rsplit_once('/').map_or("", |(f, _)| f) == folder)
        {
            let problem = format!(
                "`{other}` and `{name}` are lists for the same folder: name one, as in captions: Jsonl(…)"
            );
            return Err(PluginError::File { path: store.place().to_string().into(), problem });
        }
        lists.push((name.clone(), format));
    }
    Ok(lists)
}

fn of_split(lines: Vec<list::Line>, split: Split) -> Vec<Picture> {
    let of_split = lines.into_iter().filter(|line| line.split == split);
    of_split.map(|line| Picture { name: line.file, captions: Found::Listed(line.captions) }).collect()
}

/// The pictures with captions beside them; all of them belong to the split `train`.
fn beside(listing: Listing, suffixes: &[&str], split: Split) -> (Vec<Picture>, PassedOver) {
    if split != Split::Train {
        return (Vec::new(), PassedOver::default());
    }
    let (pairs, passed_over) = pair(listing, suffixes);
    let missing: Arc<str> =
        format!("it has no caption: no file of its name ends in .{}", suffixes.join(" or .")).into();
    let picture = |pair: crate::sidecars::Beside| Picture {
        name: pair.picture,
        captions: pair.caption.map_or_else(|| Found::Nowhere(missing.clone()), Found::Beside),
    };
    (pairs.into_iter().map(picture).collect(), passed_over)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use add_data::{RgbImage, write_png};
    use add_plugin::Draw;
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
        let (fields, repeats) = (Fields::default(), None);
        ImageFolder { path: place(folder.path()), size: 2, captions, fields, repeats }.open(split)
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
        assert_eq!(
            problems[1],
            "sample 1, c.png: it has no caption: no file of its name ends in .txt or .caption"
        );
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
            ("{\"fille\": \"x.png\", \"caption\": \"a\"}", "expected the field `file` or `file_name`"),
            (
                "{\"file\": \"x.png\", \"caption\": 7}",
                "caption: expected a text or a list of texts, found a number",
            ),
            ("{\"file\": \"x.png\", \"caption\": \"a\", \"split\": \"all\"}", "unknown variant `all`"),
            ("nonsense", "expected"),
        ] {
            fs::write(folder.path().join("list.jsonl"), format!("\n{line}\n")).expect("writable");
            let error = open(&folder, Captions::Jsonl("list.jsonl".into()), Split::Train).err();
            let error = error.expect("a bad line").to_string();
            assert!(error.contains("list.jsonl: line 2: ") && error.contains(part), "{error}");
        }
        fs::write(folder.path().join("list.jsonl"), "{\"file\": \"x.png\", \"capton\": \"a\"}")
            .expect("writable");
        let error =
            open(&folder, Captions::Jsonl("list.jsonl".into()), Split::Train).err().expect("no captions");
        assert!(error.to_string().contains("expected a caption in the field `caption`"), "{error}");
        let missing = open(&folder, Captions::Jsonl("none.jsonl".into()), Split::Train).err();
        assert!(missing.expect("no file").to_string().contains("none.jsonl"));
    }

    /// Captions of all samples.
    fn all(data: &dyn Dataset) -> Vec<String> {
        (0..data.len()).map(|index| data.get(index, &DRAW).expect("usable").caption).collect()
    }

    #[test]
    fn lists_of_every_format_and_spelling_are_read() {
        let folder = folder();
        let write = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).expect("writable");
        for (captions, name, text) in [
            (
                Captions::Jsonl("x.jsonl".into()),
                "x.jsonl",
                "\u{FEFF}{\"file_name\": \"./c.png\", \"text\": \"one\", \"width\": 48, \"score\": NaN}\r\n\
                 {\"file_name\": \"sub\\\\b.PNG\", \"text\": \"two\"}\r\n",
            ),
            (
                Captions::Csv("x.csv".into()),
                "x.csv",
                "\u{FEFF}id,file_name,text\r\n1,c.png,one\r\n2,sub/b.PNG,\"two\"\r\n",
            ),
            (Captions::Csv("x.tsv".into()), "x.tsv", "file\tcaption\nc.png\tone\nsub/b.PNG\ttwo\n"),
        ] {
            write(name, text.as_bytes());
            assert_eq!(all(&*open(&folder, captions, Split::Train).expect(name)), ["one", "two"], "{name}");
        }
        write("odd.csv", b"file,caption\nc.png,one\nc.png,one,more\n");
        let error =
            open(&folder, Captions::Csv("odd.csv".into()), Split::Train).err().expect("three columns");
        assert!(error.to_string().ends_with("odd.csv: line 3: expected 2 columns, found 3"), "{error}");
    }

    #[test]
    fn the_lists_of_hugging_face_are_found_and_the_rest_is_counted() {
        let folder = folder();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("writable");
        write("metadata.csv", "file_name,text\nc.png,one\n");
        write("sub/metadata.jsonl", "{\"file_name\": \"b.PNG\", \"text\": \"two\"}\n");
        assert_eq!(all(&*open(&folder, Captions::Auto, Split::Train).expect("two lists")), ["one", "two"]);
        write("metadata.jsonl", "{\"file_name\": \"c.png\", \"text\": \"one\"}\n");
        let error =
            open(&folder, Captions::Auto, Split::Train).err().expect("two for one folder").to_string();
        assert!(error.contains("`metadata.csv` and `metadata.jsonl`"), "{error}");
    }

    #[test]
    fn a_folder_without_pictures_says_what_is_there() {
        let folder = TempDir::new().expect("a temporary folder");
        for name in ["a.avif", "._b.png", "notes.md"] {
            fs::write(folder.path().join(name), "x").expect("writable");
        }
        let error = open(&folder, Captions::Auto, Split::Train).err().expect("none").to_string();
        for part in
            ["no samples", ".jpg", "1 with .avif, which is not read", "1 hidden (._b.png)", "notes.md"]
        {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_fingerprint_follows_the_files() {
        let folder = folder();
        let data = || open(&folder, Captions::Sidecar, Split::Train).expect("a folder").fingerprint();
        let before = data();
        assert_eq!(data(), before);
        fs::write(folder.path().join("c.txt"), "now").expect("writable");
        let named = data();
        assert_ne!(named, before);
        fs::write(folder.path().join("c.txt"), "longer").expect("writable");
        assert_ne!(data(), named);
    }

    #[test]
    fn a_missing_folder_and_a_size_of_none_are_refused() {
        let source = |path: &str, size| ImageFolder {
            path: place(Path::new(path)),
            size,
            captions: Captions::Sidecar,
            fields: Fields::default(),
            repeats: None,
        };
        let missing = source("no/such", 2).open(Split::Train).err().expect("missing");
        assert!(missing.to_string().contains("no/such"));
        let zero = source(".", 0).open(Split::Train);
        assert!(matches!(zero, Err(PluginError::Field { field: "size", .. })));
    }
}
