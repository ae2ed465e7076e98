//! The pictures that people have: of every kind, under every name, and what is said of those that are not used.

use std::{
    fs,
    path::{Path, PathBuf},
};

use add_data::{RgbImage, decode_rgb, encode_png};
use serde_json::Value;

use crate::{
    binary::{add, command},
    evaluations::both,
    hostile::TINY,
    pairs, root,
};

fn fixtures() -> PathBuf {
    root().join("tests/fixtures/pictures")
}

#[test]
fn every_kind_of_picture_is_read_as_pillow_reads_it() {
    let expected = fs::read_to_string(fixtures().join("expected.json")).unwrap();
    let expected: serde_json::Map<String, Value> = serde_json::from_str(&expected).unwrap();
    assert!(expected.len() > 25);
    for (name, expected) in expected {
        let picture = decode_rgb(&fs::read(fixtures().join(&name)).unwrap())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (w, h) = picture.dimensions();
        assert_eq!(serde_json::json!([w, h]), expected["size"], "{name}");
        let corners = [(3, 3), (w - 4, 3), (3, h - 4), (w - 4, h - 4)];
        for ((x, y), expected) in corners.into_iter().zip(expected["corners"].as_array().unwrap()) {
            let expected: [u8; 3] = serde_json::from_value(expected.clone()).unwrap();
            let found = picture.get_pixel(x, y).0;
            // JPEG's transform and the profiles' curves are rounded by each library in its own way.
            let close = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 2);
            assert!(close, "{name} at {x}, {y}: {found:?}, expected {expected:?}");
        }
    }
}

#[test]
fn pictures_of_every_orientation_are_upright() {
    for number in 1..=8 {
        for name in [format!("o{number}.jpg"), format!("o{number}.png"), format!("w{number}.webp")] {
            let bytes = fs::read(fixtures().join("orientation").join(&name)).unwrap();
            let picture = decode_rgb(&bytes).unwrap();
            assert_eq!(picture.dimensions(), (32, 32), "{name}");
            for (x, y, colour) in
                [(8, 8, [255, 0, 0]), (24, 8, [0, 255, 0]), (8, 24, [0, 0, 255]), (24, 24, [255, 255, 0])]
            {
                let found = picture.get_pixel(x, y).0;
                let close = found.iter().zip(colour).all(|(a, b): (&u8, u8)| a.abs_diff(b) <= 2);
                assert!(close, "{name} at {x}, {y}: {found:?}, expected {colour:?}");
            }
        }
    }
}

/// A folder for a recipe and its data, and what `add train` says of it.
pub(crate) struct Runs(pub(crate) tempfile::TempDir);

impl Runs {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A flat picture with a caption of its own in `name.txt`.
    pub(crate) fn picture(&self, name: &str) {
        self.write(name, png(name.len() as u8));
        self.write(Path::new(name).with_extension("txt").to_str().unwrap(), "a square");
    }

    /// Trains the tiny recipe on `data` for so many steps; the exit code, and what was said on one line.
    pub(crate) fn train(&self, data: &str, steps: usize, more: &[&str]) -> (i32, String) {
        let recipe = TINY.replace("DATA", data).replace("steps: 1)", &format!("steps: {steps})"));
        self.write("recipe.ron", recipe);
        let (recipe, out) = (self.path("recipe.ron"), self.path("run"));
        let arguments = ["train", recipe.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let output = add(&[&arguments[..], more].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{said}");
        (output.status.code().unwrap(), said.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// As [`train`](Self::train), which must succeed.
    #[track_caller]
    pub(crate) fn trains(&self, data: &str) -> String {
        let _ = fs::remove_dir_all(self.path("run"));
        let (code, said) = self.train(data, 3, &[]);
        assert_eq!(code, 0, "{said}");
        said
    }

    /// As [`train`](Self::train), which must fail with these words.
    #[track_caller]
    pub(crate) fn refuses(&self, data: &str, words: &[&str]) {
        let _ = fs::remove_dir_all(self.path("run"));
        let (code, said) = self.train(data, 3, &[]);
        assert_ne!(code, 0, "{said}");
        for word in words {
            assert!(said.contains(word), "expected {word:?} in: {said}");
        }
    }
}

fn png(number: u8) -> Vec<u8> {
    encode_png(&RgbImage::from_pixel(8, 8, [number, 100, 200].into()), &[]).unwrap()
}

#[test]
fn what_is_passed_over_is_counted_and_said() {
    let runs = Runs::new();
    for i in 0..6 {
        runs.picture(&format!("pics/{i}.png"));
        runs.write(&format!("pics/._{i}.png"), b"\0\x05\x16\x07");
    }
    runs.write("pics/.ipynb_checkpoints/0-checkpoint.png", png(1));
    runs.write("pics/phone.heic", b"\0\0\0\x18ftypheic");
    runs.write("pics/notes.md", "x");
    let said = runs.trains("ImageFolder(path: \"pics\", size: 8)");
    for part in [
        "6 pictures; passed over:",
        "7 hidden",
        "1 with .heic, which is not read",
        "1 of another kind (notes.md)",
    ] {
        assert!(said.contains(part), "{said}");
    }
    runs.write("none/phone.avif", b"\0\0\0\x1Cftypavif");
    runs.write("none/._a.png", "x");
    let said = ["/none: no samples", "pictures (.jpg, .jpeg", ".avif, which is not read", "1 hidden"];
    runs.refuses("ImageFolder(path: \"none\", size: 8)", &said);
}

#[test]
fn pictures_with_tails_and_of_other_suffixes_are_trained_on() {
    let runs = Runs::new();
    for (i, name) in
        ["rgb.bmp", "two-frames.gif", "palette.tif", "rgb.jpe", "grey.jfif", "cmyk.tiff"].iter().enumerate()
    {
        let bytes = fs::read(fixtures().join(name)).unwrap();
        let suffix = name.rsplit('.').next().unwrap();
        runs.write(&format!("pics/{i}.{}", suffix.to_uppercase()), &bytes);
        runs.write(&format!("pics/{i}.txt"), "a square");
        // A phone's video behind the picture, under a suffix that says something else.
        runs.write(&format!("pics/{i}b.png"), [&bytes[..], b"....ftypmp42\xFF\xDA\xFF\xD9\xFF\xDA"].concat());
        runs.write(&format!("pics/{i}b.txt"), "a square");
    }
    let said = runs.trains("ImageFolder(path: \"pics\", size: 8)");
    assert!(!said.contains("passed over") && !said.contains("cannot be used"), "{said}");
}

#[cfg(unix)]
#[test]
fn odd_names_and_links_end_no_run() {
    use std::{
        ffi::OsStr,
        os::unix::{ffi::OsStrExt as _, fs::symlink},
    };

    let runs = Runs::new();
    for name in [
        "tab\there",
        "line\nbreak",
        "bell\u{7}",
        "100%#?",
        "a:b*c\"d'e",
        " space ",
        "emoji 🍎",
        "back\\slash",
    ] {
        runs.picture(&format!("pics/{name}.png"));
    }
    fs::write(runs.path("pics").join(OsStr::from_bytes(b"latin-\xE9.png")), png(1)).unwrap();
    runs.picture("store/far.png");
    symlink("../store", runs.path("pics/linked")).unwrap();
    symlink("..", runs.path("store/loop")).unwrap();
    symlink("pics", runs.path("root")).unwrap();
    for folder in ["pics", "root"] {
        let said = runs.trains(&format!("ImageFolder(path: {folder:?}, size: 8)"));
        assert!(
            said.contains("1 with a name outside of UTF-8") && !said.contains("cannot be used"),
            "{said}"
        );
        // The eight odd ones and the linked one.
        assert!(said.contains("pictures; passed over"), "{said}");
    }
}

#[test]
fn paths_of_data_begin_at_the_recipe() {
    let runs = Runs::new();
    runs.picture("pics/a.png");
    runs.trains("ImageFolder(path: \"pics\", size: 8)");
    // From another folder, as every test of the binary: `configs` is there in the current one.
    runs.refuses("ImageFolder(path: \"configs\", size: 8)", &["begins at the recipe's folder", "configs"]);
    runs.refuses(
        "WebDataset(shards: [\"tests/fixtures/webdataset/two.tar\"], size: 8)",
        &["begins at the recipe's"],
    );
    runs.refuses("ImageFolder(path: \"nowhere\", size: 8)", &["nowhere", "expected a folder"]);
}

#[test]
fn a_changed_folder_is_told_on_resume() {
    let runs = Runs::new();
    for name in ["pics/a.png", "pics/b.png"] {
        runs.picture(name);
    }
    let data = "ImageFolder(path: \"pics\", size: 8)";
    let train = |steps: usize| {
        let (code, said) = runs.train(data, steps, &["--resume", "latest"]);
        assert_eq!(code, 0, "{said}");
        said
    };
    runs.trains(data);
    assert!(!train(4).contains("it has changed"));
    runs.picture("pics/c.png");
    let said = train(5);
    assert!(said.contains("data: it has changed") && said.contains("3 samples, 2 before"), "{said}");
    assert!(!train(6).contains("it has changed"), "said once");
    runs.write("pics/a.txt", "another square");
    assert!(train(7).contains("3 samples as before, but not the same ones"));
}

#[test]
fn a_recipe_may_have_a_mark_or_be_in_utf_16() {
    let runs = Runs::new();
    let text = TINY.replace("DATA", "Emoji(size: 32)");
    let utf_16: Vec<u8> = format!("\u{FEFF}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [format!("\u{FEFF}{text}").into_bytes(), utf_16] {
        runs.write("recipe.ron", bytes);
        let recipe = runs.path("recipe.ron");
        let output = command(&["config", "check", recipe.to_str().unwrap()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What systems put beside pictures is none, and BMP is a picture.
#[test]
fn folders_are_measured_without_their_hidden_files() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = both(&folder, 4);
    let figure = || {
        let out = folder.path().join("out").display().to_string();
        let [a, b] = [&a, &b].map(|path| path.display().to_string());
        let metrics = "[Frechet(features: MobileNetV2(blocks: [13]))]";
        let eval = ["eval", "--images", &a, "--references", &b, "--metrics", metrics, "--out", &out];
        let output = add(&eval);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read_to_string(folder.path().join("out/evaluation.json")).unwrap()
    };
    let before = figure();
    fs::write(a.join("._0.png"), b"\0\x05\x16\x07").unwrap();
    fs::write(b.join(".DS_Store"), "x").unwrap();
    fs::create_dir(b.join(".ipynb_checkpoints")).unwrap();
    let name = fs::read_dir(&a)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| !path.ends_with("._0.png"))
        .unwrap();
    image::open(&name).unwrap().save(a.join("x.bmp")).unwrap();
    fs::remove_file(&name).unwrap();
    let values = |json: &str| -> Vec<f64> {
        let rows: Value = serde_json::from_str(json).unwrap();
        rows.as_array().unwrap().iter().map(|row| row["value"].as_f64().unwrap()).collect()
    };
    for (before, after) in pairs(values(&before), values(&figure())) {
        assert!((before - after).abs() < 1e-6 * before.abs(), "{before} {after}");
    }
}
