//! A folder in which pictures are asked for.

use std::{fs, path::PathBuf, process::Output};

use add_data::{RgbImage, decode_rgb};

use crate::binary::command;

pub(super) const RECIPE: &str = "configs/emoji.ron";

/// A folder in which `add` runs, beside a copy of the recipe and its weights.
pub(super) struct Here(pub(super) tempfile::TempDir);

impl Here {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// `add sample` with the emoji recipe and these words, where `@name` is a file in this folder.
    pub(super) fn sample(&self, words: &str) -> Output {
        self.run(&format!("{RECIPE} {words}"))
    }

    pub(super) fn run(&self, words: &str) -> Output {
        let words: Vec<String> = words
            .split(' ')
            .map(|word| match word.strip_prefix('@') {
                Some(name) => self.text(name),
                None => word.replace('_', " ").replace("save latents", "save_latents"),
            })
            .collect();
        let arguments: Vec<&str> =
            std::iter::once("sample").chain(words.iter().map(String::as_str)).collect();
        command(&arguments).output().unwrap()
    }

    #[track_caller]
    pub(super) fn samples(&self, words: &str) -> String {
        fine(&self.sample(words))
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(super) fn pixels(&self, name: &str) -> RgbImage {
        decode_rgb(&self.bytes(name)).unwrap()
    }

    /// Names of the files in a folder here, sorted.
    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// What was said, on one line, by a run that must have succeeded.
#[track_caller]
pub(super) fn fine(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(output.status.success(), "{said}");
    said
}
