//! Captioned pictures in tar shards, and what reading them takes.

use std::{
    fs::{self, File},
    io::{self, BufWriter},
    path::{Path, PathBuf},
};

use add_data::{Keep, Loader, PictureFormat, RgbImage, encode_picture};
use add_plugin::{DataSource, Split};
use plugins::data::{CaptionMember, WebDataset};

use crate::{error::BenchError, operations::Job};

/// Shards of pictures of one size. The other library reads the same files: `webdataset_peer.py` finds them by [`folder`](Self::folder).
struct Shards {
    name: &'static str,
    files: u64,
    /// Samples of each.
    samples: u64,
    /// Pixels, across and down.
    size: [u32; 2],
    /// Whether all are names of one.
    same: bool,
}

/// As many as photographs in a shard of img2dataset are large.
const PHOTOGRAPHS: Shards =
    Shards { name: "photographs", files: 4, samples: 256, size: [512, 384], same: false };
/// Ten million samples.
const MANY: Shards = Shards { name: "many", files: 1000, samples: 10_000, size: [32, 32], same: true };

/// A step so far into a run that no batch before it can have been loaded.
const LATE: u64 = 1_000_000;
const SEED: u64 = 7;

/// The next `count` batches of shuffled photographs, decoded and at `size` pixels, `threads` of them at work.
pub(crate) fn batches([size, batch, count]: [usize; 3], threads: u32) -> Result<Job, BenchError> {
    let source = PHOTOGRAPHS.source(size, Keep::Off())?;
    let loader = Loader::new(source.open(Split::Train)?.into(), SEED, batch)?;
    let mut batches = loader.stream(0, threads as usize);
    Ok(Box::new(move || {
        for batch in batches.by_ref().take(count) {
            let batch = batch.expect("these samples are sound");
            assert!(batch.skipped.is_empty(), "{:?}", batch.skipped);
        }
    }))
}

/// What a resumed run does before its first step: opens ten million samples, whose places are kept, and loads a late batch.
pub(crate) fn resumed(batch: usize) -> Result<Job, BenchError> {
    let source = MANY.source(32, Keep::Folder(MANY.folder().join("index")))?;
    Ok(Box::new(move || {
        let data = source.open(Split::Train).expect("the shards are there");
        assert_eq!(data.len() as u64, MANY.files * MANY.samples);
        let loader = Loader::new(data.into(), SEED, batch).expect("it has samples");
        let batch = loader.load(LATE).expect("these samples are sound");
        assert!(batch.skipped.is_empty(), "{:?}", batch.skipped);
    }))
}

impl Shards {
    /// Where they lie; once made, they stay.
    fn folder(&self) -> PathBuf {
        std::env::temp_dir().join("add-bench").join(self.name)
    }

    /// The data, which is made where it is not there.
    fn source(&self, size: usize, index: Keep) -> Result<WebDataset, BenchError> {
        let folder = self.folder();
        let done = folder.join("done");
        if !done.exists() {
            fs::create_dir_all(&folder)
                .and_then(|()| self.make(&folder))
                .and_then(|()| fs::write(&done, []))
                .map_err(|source| BenchError::Write { path: folder.clone(), source })?;
        }
        Ok(source(&folder, size, index))
    }

    fn make(&self, folder: &Path) -> io::Result<()> {
        let first = folder.join(file_name(0));
        for shard in 0..self.files {
            let path = folder.join(file_name(shard));
            if shard > 0 && self.same {
                let _ = fs::remove_file(&path);
                fs::hard_link(&first, &path)?;
            } else {
                self.write(&path, shard * self.samples)?;
            }
        }
        Ok(())
    }

    /// A shard whose samples are numbered from `first` on.
    fn write(&self, path: &Path, first: u64) -> io::Result<()> {
        let mut tar = tar::Builder::new(BufWriter::new(File::create(path)?));
        let mut add = |name: String, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes)
        };
        for number in first..first + self.samples {
            let picture = encode_picture(&drawn(number, self.size), PictureFormat::Jpeg, &[]);
            add(format!("{number:08}.jpg"), &picture.map_err(io::Error::other)?)?;
            add(format!("{number:08}.txt"), format!("picture number {number}").as_bytes())?;
        }
        tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

fn file_name(shard: u64) -> String {
    format!("{shard:05}.tar")
}

fn source(folder: &Path, size: usize, index: Keep) -> WebDataset {
    WebDataset {
        shards: vec![folder.join("*.tar").to_string_lossy().into_owned()],
        size,
        pictures: vec!["jpg".to_owned()],
        caption: CaptionMember::Text,
        test_pair: Vec::new(),
        test_concept: Vec::new(),
        index,
    }
}

/// Waves of light with some noise, so that it takes as long to decode as a photograph; another one for each number.
fn drawn(number: u64, [width, height]: [u32; 2]) -> RgbImage {
    let phase = number as f32;
    let mut values = Vec::with_capacity((3 * width * height) as usize);
    for y in 0..height {
        for x in 0..width {
            let noise = (x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77)).wrapping_mul(0xC2B2_AE3D);
            values.extend([0.011, 0.017, 0.023].map(|rate| {
                let wave = (x as f32 * rate + phase).sin() + (y as f32 * rate * 1.3 - phase).cos();
                ((wave + 2.0) * 60.0) as u8 + (noise >> 28) as u8
            }));
        }
    }
    RgbImage::from_raw(width, height, values).expect("three values a pixel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read_as_they_were_made_and_names_of_one_file_count_each() {
        let folder = tempfile::tempdir().expect("a folder");
        let shards = Shards { name: "few", files: 3, samples: 2, size: [20, 12], same: true };
        shards.make(folder.path()).expect("written");
        let source = source(folder.path(), 12, Keep::Off());
        let data = source.open(Split::Train).expect("sound");
        assert_eq!((data.len(), data.caption(5)), (6, "picture number 1".to_owned()));
    }
}
