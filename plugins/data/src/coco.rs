//! COCO with captions, Lin et al. 2014; Chen et al. 2015: the pictures and the list of captions as they are published.
//!
//! One caption belongs to each picture, that of the smallest annotation id, so that the 5,000 pictures of `val2017` give the
//! 5,000 captions of the zero-shot protocol, the same on every machine.

use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

use add_plugin::{DataSource, Dataset, Draw, Entry, PluginError, Sample, Split, inventory};
use add_store::{Place, Store};
use serde::{Deserialize, Serialize};

use crate::{
    captions::checked,
    sample::{MAX_PICTURE, Trouble, check_size, fingerprint, sample, store_error},
};

/// Largest list of captions, in bytes; that of `train2017` has 92 million.
const MAX_LIST: u64 = 512 << 20;

/// Pictures of COCO, each with one caption. All belong to the split `train`, which is what an evaluation takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coco {
    /// The folder that `val2017.zip` and `annotations_trainval2017.zip` were unpacked in: a path from the recipe's
    /// folder, `s3://bucket/prefix`, `https://host/path`.
    path: Place,
    /// Side in pixels that every picture is cropped and resized to.
    size: usize,
    /// The pictures' folder in it.
    #[serde(default = "images")]
    images: String,
    /// The list of captions in it.
    #[serde(default = "annotations")]
    annotations: String,
}

fn images() -> String {
    "val2017".to_owned()
}

fn annotations() -> String {
    "annotations/captions_val2017.json".to_owned()
}

inventory::submit!(Entry::data_source::<Coco>("Coco", "Lin et al. 2014, captions of Chen et al. 2015"));

/// The published list, as far as it is read.
#[derive(Deserialize)]
struct List {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    id: u64,
    image_id: u64,
    caption: String,
}

impl DataSource for Coco {
    fn open_beside(&self, split: Split, base: &Path) -> Result<Box<dyn Dataset>, PluginError> {
        check_size(self.size)?;
        let store = Store::open(&self.path.beside(base).map_err(store_error)?).map_err(store_error)?;
        let pictures = if split == Split::Train { self.pictures(&store)? } else { Vec::new() };
        Ok(Box::new(CocoSplit { store, pictures, size: self.size }))
    }

    fn size(&self) -> usize {
        self.size
    }
}

impl Coco {
    /// Every picture with a caption, by image id.
    fn pictures(&self, store: &Store) -> Result<Vec<Picture>, PluginError> {
        let file = |problem| PluginError::File { path: store.name(&self.annotations).into(), problem };
        let bytes = store.read(&self.annotations, MAX_LIST).map_err(store_error)?;
        let list: List = serde_json::from_slice(&bytes)
            .map_err(|error| file(format!("expected COCO's list of captions: {error}")))?;
        let mut captions: BTreeMap<u64, (u64, String)> = BTreeMap::new();
        for Annotation { id, image_id, caption } in list.annotations {
            match captions.get(&image_id) {
                Some((first, _)) if *first <= id => {}
                _ => drop(captions.insert(image_id, (id, caption))),
            }
        }
        let mut pictures = BTreeMap::new();
        for Image { id, file_name } in list.images {
            let inside = Path::new(&file_name).components().all(|c| matches!(c, Component::Normal(_)));
            if file_name.is_empty() || !inside {
                return Err(file(format!("image {id}: `{file_name}` is no path inside the folder")));
            }
            if let Some((_, caption)) = captions.remove(&id) {
                let name = format!("{}/{file_name}", self.images);
                pictures.insert(id, Picture { name, captions: checked(vec![caption]) });
            }
        }
        if pictures.is_empty() {
            return Err(file("expected images with captions, found none".to_owned()));
        }
        Ok(pictures.into_values().collect())
    }
}

struct Picture {
    name: String,
    /// One, or why it cannot be used.
    captions: Result<Vec<String>, String>,
}

struct CocoSplit {
    store: Store,
    pictures: Vec<Picture>,
    size: usize,
}

impl CocoSplit {
    fn sample(&self, picture: &Picture, draw: &Draw) -> Result<Sample, Trouble> {
        let captions = picture.captions.clone()?;
        let bytes = self.store.read(&picture.name, MAX_PICTURE)?;
        Ok(sample(&bytes, &captions, self.size, draw)?)
    }
}

impl Dataset for CocoSplit {
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

    /// Names and captions of the pictures.
    fn fingerprint(&self) -> String {
        fingerprint(self.pictures.iter().map(|picture| format!("{} {:?}", picture.name, picture.captions)))
    }

    fn caption(&self, index: usize) -> String {
        self.pictures[index].captions.as_ref().map_or_else(|_| String::new(), |captions| captions[0].clone())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use add_data::{RgbImage, write_png};
    use tempfile::TempDir;

    use super::*;

    const DRAW: Draw = Draw { seed: 1, step: 0, index: 0 };

    fn folder(list: &str) -> TempDir {
        let folder = TempDir::new().expect("a temporary folder");
        fs::create_dir(folder.path().join("annotations")).expect("a new folder");
        fs::create_dir(folder.path().join("val2017")).expect("a new folder");
        fs::write(folder.path().join("annotations/captions_val2017.json"), list).expect("written");
        let picture = RgbImage::from_pixel(6, 4, [255; 3].into());
        write_png(&folder.path().join("val2017/7.png"), &picture, &[]).expect("writable");
        folder
    }

    fn coco(folder: &TempDir) -> Coco {
        let path = Place::parse(folder.path().to_str().expect("UTF-8")).expect("a path");
        Coco { path, size: 2, images: images(), annotations: annotations() }
    }

    #[test]
    fn each_picture_has_its_first_caption_whatever_the_order() {
        let folder = folder(
            r#"{"info": {"year": 2017}, "licenses": [],
                "images": [{"id": 9, "file_name": "9.png", "license": 1}, {"id": 7, "file_name": "7.png"},
                           {"id": 8, "file_name": "8.png"}],
                "annotations": [{"image_id": 7, "id": 31, "caption": "late"},
                                {"image_id": 7, "id": 30, "caption": " A white card.\n"},
                                {"image_id": 9, "id": 1, "caption": "gone"}]}"#,
        );
        let data = coco(&folder).open(Split::Train).expect("a list");
        let captions: Vec<String> = (0..data.len()).map(|i| data.caption(i)).collect();
        assert_eq!(captions, ["A white card.", "gone"]);
        let sample = data.get(0, &DRAW).expect("a picture");
        assert_eq!((sample.caption.as_str(), sample.pixels), ("A white card.", vec![1.0; 12]));
        let missing = data.get(1, &DRAW).unwrap_err().to_string();
        assert!(missing.contains("val2017/9.png: there is no such file"), "{missing}");
        assert!(coco(&folder).open(Split::TestPair).expect("a list").is_empty());
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (list, part) in [
            ("{\"images\": []}", "missing field `annotations`"),
            ("{\"images\": [], \"annotations\": []}", "found none"),
            ("{\"images\": [{\"id\": 1, \"file_name\": \"../x\"}], \"annotations\": []}", "no path inside"),
        ] {
            let folder = folder(list);
            let error = coco(&folder).open(Split::Train).err().expect(part).to_string();
            assert!(error.contains("captions_val2017.json") && error.contains(part), "{error}");
        }
    }
}
