//! Folders of pictures that were made by anything, with a list of their captions.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use add_files::is_hidden;
use image::RgbImage;

use crate::{DataError, Head, Prompt, SUFFIXES, UNREAD_SUFFIXES, decode_rgb, head};

/// Largest size of an encoded picture, in bytes.
pub const MAX_PICTURE_FILE: u64 = 64 << 20;

/// The pictures of a folder, in the order of their names. Hidden files and those whose names do not end as a picture's are left
/// out.
///
/// # Errors
/// When the folder cannot be read, has no pictures, or has some of a format that is not read.
pub fn picture_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::Read { path: folder.to_owned(), source };
    let (mut files, mut unread, mut others) = (Vec::new(), Vec::new(), 0_usize);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Such as macOS' `._a.png`, which is no picture.
        if is_hidden(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        let suffix = path.extension().map_or_else(String::new, |e| e.to_string_lossy().to_lowercase());
        match suffix.as_str() {
            suffix if SUFFIXES.contains(&suffix) => files.push(path),
            suffix if UNREAD_SUFFIXES.contains(&suffix) => unread.push(path),
            _ => others += 1,
        }
    }
    files.sort();
    unread.sort();
    let refuse = |problem: String| Err(DataError::List { path: folder.to_owned(), problem });
    match unread.first() {
        // Without them, a figure would be of fewer pictures than the folder has.
        Some(path) => refuse(format!(
            "{} of its pictures are of a format that is not read (such as {}): convert them to PNG, JPEG or WebP",
            unread.len(),
            path.file_name().unwrap_or_default().to_string_lossy().escape_debug()
        )),
        None if files.is_empty() => {
            refuse(format!("expected pictures (.{}), found none among {others} files", SUFFIXES.join(", .")))
        }
        None => Ok(files),
    }
}

/// The caption of each picture in `folder`: by the names in the list where all entries have one, else in order.
///
/// # Errors
/// When a picture has no caption, or a list without names has another length.
pub fn captions_of(folder: &Path, files: &[PathBuf], prompts: &[Prompt]) -> Result<Vec<String>, DataError> {
    let refuse = |problem: String| DataError::List { path: folder.to_owned(), problem };
    if prompts.iter().all(|prompt| prompt.file.is_some()) && !prompts.is_empty() {
        let by_name: BTreeMap<&str, &str> =
            prompts.iter().filter_map(|p| Some((p.file.as_deref()?, p.text.as_str()))).collect();
        let caption = |file: &PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let missing = || refuse(format!("{name} is not in the list of captions"));
            by_name.get(&*name).map(|text| (*text).to_owned()).ok_or_else(missing)
        };
        return files.iter().map(caption).collect();
    }
    if prompts.len() != files.len() {
        let (captions, pictures) = (prompts.len(), files.len());
        return Err(refuse(format!(
            "expected a caption for each of its {pictures} pictures, got {captions} captions"
        )));
    }
    Ok(prompts.iter().map(|prompt| prompt.text.clone()).collect())
}

/// Reads and decodes a picture.
///
/// # Errors
/// When it cannot be read, is too large or is no picture; each names the file.
pub fn read_picture(path: &Path) -> Result<RgbImage, DataError> {
    let failed = |source| DataError::Read { path: path.to_owned(), source };
    let bytes = add_files::read(path, MAX_PICTURE_FILE).map_err(failed)?;
    let problem = |error: DataError| DataError::List { path: path.to_owned(), problem: error.to_string() };
    decode_rgb(&bytes).map_err(problem)
}

/// What a picture says about itself, without its pixels.
///
/// # Errors
/// As [`read_picture`], as far as it shows without decoding the pixels.
pub fn read_head(path: &Path) -> Result<Head, DataError> {
    let failed = |source| DataError::Read { path: path.to_owned(), source };
    let bytes = add_files::read(path, MAX_PICTURE_FILE).map_err(failed)?;
    head(&bytes).map_err(|error| DataError::List { path: path.to_owned(), problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(text: &str, file: Option<&str>) -> Prompt {
        Prompt { text: text.to_owned(), file: file.map(str::to_owned) }
    }

    #[test]
    fn captions_follow_the_names_or_the_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.PNG", "a.jpg", "notes.txt", "._a.jpg", ".b.png"] {
            fs::write(folder.path().join(name), "").expect("written");
        }
        let files = picture_files(folder.path()).expect("pictures");
        assert_eq!(files, ["a.jpg", "b.PNG"].map(|name| folder.path().join(name)));
        let of = |prompts: &[Prompt]| captions_of(folder.path(), &files, prompts);
        assert_eq!(of(&[prompt("1", None), prompt("2", None)]).expect("in order"), ["1", "2"]);
        let named = [prompt("x", Some("c.png")), prompt("2", Some("b.PNG")), prompt("1", Some("a.jpg"))];
        assert_eq!(of(&named).expect("by name"), ["1", "2"]);
        assert!(of(&named[..2]).unwrap_err().to_string().contains("a.jpg is not in the list"));
        assert!(of(&[prompt("1", None)]).unwrap_err().to_string().contains("2 pictures, got 1 captions"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(picture_files(folder.path()).unwrap_err().to_string().contains("found none"));
        let path = folder.path().join("a.png");
        assert!(read_picture(&path).unwrap_err().to_string().contains("a.png"));
        fs::write(&path, "no picture").expect("written");
        assert!(read_picture(&path).unwrap_err().to_string().contains("a.png: cannot decode"));
    }
}
