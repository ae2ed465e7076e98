//! As `fuzz`, for the readers of training data: pictures, colour profiles, captions, tables, shards.

use std::io::Cursor;

use add_core::{
    made_with::{FileUsed, MadeWith},
    read,
    recipe::Dimensions,
    request::{InputFiles, Inputs, write_latents},
};
use add_data::{PictureFormat, decode_rgb, encode_picture};
use add_plugin::{Draw, Latents, Split};
use burn::tensor::{Device, Tensor};
use image::{ImageEncoder as _, ImageFormat, RgbImage, codecs::png::PngEncoder};

use crate::{
    fuzz::{at, shipped, survives},
    hostile::TINY,
    stores::{shard, source},
};

#[test]
fn captions_survive() {
    let folder = tempfile::tempdir().unwrap();
    RgbImage::new(8, 8).save(folder.path().join("a.png")).unwrap();
    let list = r#"{"file":"a.png","captions":["one","two"],"split":"train"}
{"file":"a.png","caption":"three \u00e9","split":"test_pair"}
"#;
    let data = |captions: &str| {
        let source = format!("ImageFolder(path: {:?}, size: 8, captions: {captions})", folder.path());
        let recipe = include_str!("../fixtures/checkpoint/recipe.ron").replace("Emoji(size: 32)", &source);
        read::parse(&recipe, "fuzz.ron").unwrap().data
    };
    let table = "file,caption,split\na.png,\"one, two\",train\na.png,three \u{e9},test_pair\n";
    for (file, captions, sound) in [
        ("list.jsonl", "Jsonl(\"list.jsonl\")", list),
        ("list.csv", "Csv(\"list.csv\")", table),
        ("a.txt", "Sidecar", "one\ntwo \u{e9}\n"),
    ] {
        let source = data(captions);
        survives(sound, 300, |bytes| {
            at(&folder.path().join(file), bytes);
            if let Ok(opened) = source.open(Split::Train) {
                for index in 0..opened.len() {
                    let _ = (opened.get(index, &Draw { seed: 0, step: 0, index: 0 }), opened.caption(index));
                }
            }
        });
    }
}

pub(crate) fn picture(format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(24, 24, |x, y| image::Rgb([x as u8 * 10, y as u8 * 10, (x * y) as u8]));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn pictures_survive() {
    let formats = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Gif,
        ImageFormat::Tiff,
    ];
    let kinds = [
        "profile.png",
        "profile.jpg",
        "profile.webp",
        "profile.tiff",
        "profile-alpha.png",
        "cmyk.jpg",
        "palette.tif",
        "lzw.tiff",
        "deflate.tiff",
        "cmyk.tiff",
        "grey16.tiff",
        "palette.bmp",
        "onebit.bmp",
        "two-frames.gif",
        "transparent.gif",
        "progressive.jpg",
    ];
    let kinds = kinds.map(|name| shipped(&format!("tests/fixtures/pictures/{name}")));
    for sound in formats.map(picture).into_iter().chain(kinds) {
        survives(sound, 300, |bytes| {
            let _ = decode_rgb(bytes);
        });
    }
}

/// The colour profile alone, in a picture that is sound.
#[test]
fn colour_profiles_survive() {
    survives(shipped("tests/fixtures/pictures/wide.icc"), 1000, |bytes| {
        let mut encoded = Vec::new();
        let mut encoder = PngEncoder::new(&mut encoded);
        encoder.set_icc_profile(bytes.to_vec()).unwrap();
        encoder.write_image(&[9; 48], 4, 4, image::ExtendedColorType::Rgb8).unwrap();
        decode_rgb(&encoded).unwrap();
    });
}

/// What pictures say of how they were made, and the records in it.
#[test]
fn what_pictures_say_survives() {
    let folder = tempfile::tempdir().unwrap();
    let made = MadeWith {
        version: "1".to_owned(),
        prompts: vec!["a cat 🐈".to_owned()],
        negative: String::new(),
        count: 1,
        index: 0,
        seed: 1,
        steps: 1,
        guidance: 1.0,
        size: Dimensions::square(8),
        init: Some(FileUsed { name: "a.png".to_owned(), fingerprint: None }),
        strength: Some(0.5),
        mask: None,
        latents: None,
        weights: None,
        kept: add_core::weights::Kept::default(),
        recipe_file: "tiny.ron".to_owned(),
        recipe: TINY.replace("DATA", "Off(size: 8)"),
    };
    let texts = made.texts();
    let texts = texts.each_ref().map(|(keyword, text)| (*keyword, text.as_str()));
    for format in [PictureFormat::Png, PictureFormat::Jpeg, PictureFormat::WebP] {
        let path = folder.path().join(format!("a.{format}"));
        let sound = encode_picture(&RgbImage::new(8, 8), format, &texts).unwrap();
        at(&path, &sound);
        assert_eq!(MadeWith::of(&path).unwrap(), made);
        survives(sound, 500, |bytes| {
            at(&path, bytes);
            if let Ok(made) = MadeWith::of(&path) {
                let _ = (made.recipe(&[]), made.init.map(|init| init.find(&[folder.path()], "init")));
            }
        });
    }
    survives(texts[1].1, 2000, |bytes| {
        if let Ok(made) = serde_json::from_slice::<MadeWith>(bytes) {
            let _ = (made.recipe(&[]), made.texts());
        }
    });
}

/// Latents to start from.
#[test]
fn latents_survive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let recipe = read::parse(&TINY.replace("DATA", "Off(size: 8)"), "tiny.ron").unwrap();
    write_latents(&path, &Latents(Tensor::ones([2, 3, 8, 8], &Device::flex()))).unwrap();
    let read = |count| {
        let files = InputFiles { init: Some(&path), strength: 1.0, mask: None, latents: Some(&path) };
        Inputs::read(&files, &recipe, Dimensions::square(8), 1, 0..count)
    };
    assert!(read(2).is_ok() && read(3).is_err());
    survives(std::fs::read(&path).unwrap(), 500, |bytes| {
        at(&path, bytes);
        let _ = read(2);
    });
}

#[test]
fn parquet_files_survive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    for name in ["hf", "img2dataset", "lists", "metadata", "polars", "zstd"] {
        let sound = shipped(&format!("tests/fixtures/parquet/{name}.parquet"));
        let recipes = [
            format!("Parquet(files: [{path:?}], size: 8)"),
            format!("ImageFolder(path: {:?}, size: 8, captions: Parquet(\"a.parquet\"))", folder.path()),
        ];
        let sources = recipes.map(|recipe| source(&recipe));
        survives(sound, 1000, |bytes| {
            at(&path, bytes);
            for opened in sources.iter().filter_map(|source| source.open(Split::Train).ok()) {
                for index in 0..opened.len().min(20) {
                    let _ = (opened.get(index, &Draw { seed: 0, step: 0, index: 0 }), opened.caption(index));
                }
            }
        });
    }
}

#[test]
fn packed_shards_survive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar.gz");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &shard(0..3, &[])).unwrap();
    let source = source(&format!("WebDataset(shards: [{path:?}], size: 8)"));
    survives(packed.finish().unwrap(), 300, |bytes| {
        at(&path, bytes);
        if let Ok(opened) = source.open(Split::Train) {
            for index in 0..opened.len() {
                let _ = (opened.get(index, &Draw { seed: 0, step: 0, index: 0 }), opened.caption(index));
            }
        }
    });
}
