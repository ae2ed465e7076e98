//! Which fixtures a folder holds.
//!
//! A fixture's files are `<name>.io.safetensors`, `<name>.json` and, for networks, `<name>.config.json` and
//! `<name>.weights.safetensors`; the folder that holds them is named after the family. Any one of them announces the
//! fixture, so that a file which is missing is noticed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{ParityError, families::comparison_of, fixture::EXPECTED, json};

/// A fixture on disk, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The folder's name.
    pub family: String,
    /// What its files' names begin with.
    pub name: String,
    /// Where its files are.
    pub folder: PathBuf,
    /// What it is called in the report: its place below the folder that was searched.
    pub label: String,
}

/// Every fixture below `folder`, by label.
///
/// # Errors
/// When a folder cannot be read, or there is no fixture.
pub fn find(folder: &Path) -> Result<Vec<Found>, ParityError> {
    // `.` has no name of its own, but its family does.
    let root = fs::canonicalize(folder).map_err(io(folder))?;
    let mut found = Vec::new();
    search(&root, &mut Vec::new(), &mut found)?;
    if found.is_empty() {
        return Err(ParityError::NoFixture { path: folder.to_path_buf() });
    }
    found.sort_by(|a, b| a.label.cmp(&b.label));
    Ok(found)
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ParityError {
    |source| ParityError::Io { path: path.to_path_buf(), source }
}

/// `way` are the names of the folders from the root to this one.
fn search(folder: &Path, way: &mut Vec<String>, found: &mut Vec<Found>) -> Result<(), ParityError> {
    let family = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let entry = entry.map_err(io(folder))?;
        let file = entry.file_name().to_string_lossy().into_owned();
        // Links to folders are not followed: they may lead back here.
        if entry.file_type().map_err(io(&entry.path()))?.is_dir() {
            way.push(file);
            search(&entry.path(), way, found)?;
            way.pop();
        } else if let Some(name) = fixture_of(&file, &family, &entry.path()) {
            names.insert(name);
        }
    }
    let above = if way.is_empty() { family.clone() } else { way.join("/") };
    found.extend(names.into_iter().map(|name| Found {
        label: format!("{above}/{name}"),
        family: family.clone(),
        folder: folder.to_path_buf(),
        name,
    }));
    Ok(())
}

/// The fixture that a file belongs to.
fn fixture_of(file: &str, family: &str, path: &Path) -> Option<String> {
    // The second is how full-size outputs are stored, whose weights are a formula.
    for ending in [".io.safetensors", EXPECTED] {
        if let Some(name) = file.strip_suffix(ending) {
            return Some(name.to_owned());
        }
    }
    // Elsewhere any file may have these endings.
    comparison_of(family)?;
    if let Some(name) = file.strip_suffix(".weights.safetensors") {
        // The same weights under other names, beside those of the fixture.
        return (!name.ends_with(".oldkeys")).then(|| name.to_owned());
    }
    if let Some(name) = file.strip_suffix(".config.json") {
        return Some(name.to_owned());
    }
    let name = file.strip_suffix(".json")?;
    // Other JSON may lie here; a fixture's lists its tensors.
    let facts: serde_json::Value = json::read(path, file).ok()?;
    facts["tensors"].is_object().then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (file, text) in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("created");
            fs::write(path, text).expect("written");
        }
        root
    }

    fn labels(root: &Path) -> Vec<String> {
        find(root).expect("fixtures").into_iter().map(|found| found.label).collect()
    }

    #[test]
    fn any_file_of_a_fixture_announces_it() {
        let root = folder(&[
            ("unet/a.io.safetensors", ""),
            ("unet/b.weights.safetensors", ""),
            ("seed7/vit/c.hf.config.json", ""),
            ("tokens/d.json", r#"{"tensors": {}}"#),
            ("tokens/d_rows.json", "[]"),
            ("vae/e.oldkeys.weights.safetensors", ""),
            ("vae/e.config.json", ""),
            ("full/f.expected.safetensors", ""),
            ("full/configs/g.config.json", ""),
            ("README.md", ""),
        ]);
        let want = ["full/f", "seed7/vit/c.hf", "tokens/d", "unet/a", "unet/b", "vae/e"];
        assert_eq!(labels(root.path()), want);
        assert_eq!(labels(&root.path().join("unet")), ["unet/a", "unet/b"], "the family's own folder");
    }

    #[test]
    fn a_folder_that_is_not_there_or_empty_is_an_error() {
        let root = folder(&[("notes/readme.txt", "")]);
        let text = |path: &Path| find(path).expect_err("nothing to find").to_string();
        assert!(text(root.path()).contains("holds no fixture"));
        assert!(text(&root.path().join("nowhere")).contains("nowhere"));
    }
}
