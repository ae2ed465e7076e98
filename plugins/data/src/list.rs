//! Lists of pictures with their captions: JSON lines, CSV and Parquet, with the fields of this project, of Hugging Face's
//! imagefolder (`file_name`, `text`), or of the recipe's choice.

mod csv_list;
mod json_lines;
mod parquet_list;

use std::{path::Path, sync::Arc};

use add_plugin::{PluginError, Split};
use add_store::Store;
use serde::{Deserialize, Serialize};

use crate::{captions::checked, sample::store_error};

/// The fields that name a picture, unless the recipe says another.
const FILES: [&str; 2] = ["file", "file_name"];
/// The fields that hold captions, unless the recipe says another. The first of these groups that a line has counts.
const CAPTIONS: [&[&str]; 2] = [&["caption", "captions"], &["text"]];
/// The field that says which split a line belongs to.
const SPLIT: &str = "split";

/// Which fields of a list say what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// The one that names the picture; `file` or `file_name` unless stated.
    pub file: Option<String>,
    /// The one that holds its captions, a text or a list of texts; `caption`, `captions` or `text` unless stated.
    pub caption: Option<String>,
}

impl Fields {
    /// The fields of a picture's name.
    fn files(&self) -> Vec<&str> {
        self.file.as_deref().map_or_else(|| FILES.to_vec(), |name| vec![name])
    }

    /// The fields of captions, by groups.
    fn captions(&self) -> Vec<Vec<&str>> {
        match &self.caption {
            Some(name) => vec![vec![name]],
            None => CAPTIONS.map(<[&str]>::to_vec).to_vec(),
        }
    }

    /// Those of `names` that name the picture and hold its captions.
    ///
    /// # Errors
    /// When none or several name the picture, or none holds a caption.
    fn choose<'a>(&self, names: &[&'a str]) -> Result<(&'a str, Vec<&'a str>), String> {
        let among = |wanted: &[&str]| -> Vec<&'a str> {
            names.iter().copied().filter(|name| wanted.contains(name)).collect()
        };
        let found =
            || names.iter().map(|name| format!("`{}`", name.escape_debug())).collect::<Vec<_>>().join(", ");
        let files = among(&self.files());
        let &[file] = &files[..] else {
            let expected = self.files().join("` or `");
            return Err(format!(
                "expected the field `{expected}` with the picture's name, found {}",
                found()
            ));
        };
        let captions = self.captions().iter().map(|group| among(group)).find(|found| !found.is_empty());
        let captions = captions.ok_or_else(|| {
            let expected = self.captions().concat().join("`, `");
            format!("expected a caption in the field `{expected}`, found {}", found())
        })?;
        Ok((file, captions))
    }
}

/// The formats of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    JsonLines,
    Csv,
    Parquet,
}

impl Format {
    /// Names of lists that are looked for in a folder: those of Hugging Face's imagefolder.
    pub(crate) const METADATA: [(&str, Self); 3] = [
        ("metadata.jsonl", Self::JsonLines),
        ("metadata.csv", Self::Csv),
        ("metadata.parquet", Self::Parquet),
    ];
}

/// A line of a list.
#[derive(Debug)]
pub(crate) struct Line {
    /// The picture, by its path in the store.
    pub(crate) file: String,
    /// Its captions, or why there are none.
    pub(crate) captions: Result<Vec<String>, String>,
    pub(crate) split: Split,
}

/// Reads the list `name`; what it calls `a.png` is `folder/a.png` in the store.
///
/// # Errors
/// When it cannot be read, with the line.
pub(crate) fn read(
    store: &Arc<Store>,
    name: &str,
    format: Format,
    fields: &Fields,
    folder: &str,
) -> Result<Vec<Line>, PluginError> {
    let refused = |error: Refusal| match error {
        Refusal::Store(error) => store_error(error),
        Refusal::List(problem) => PluginError::File { path: store.name(name).into(), problem },
        Refusal::Line(line, problem) => {
            let problem = format!("line {line}: {problem}");
            PluginError::File { path: store.name(name).into(), problem }
        }
    };
    let mut lines = Vec::new();
    let mut each = |number: usize, row: Row| -> Result<(), Refusal> {
        lines.push(line(row, folder).map_err(|problem| Refusal::Line(number, problem))?);
        Ok(())
    };
    let read = match format {
        Format::JsonLines => json_lines::read(store, name, fields, &mut each),
        Format::Csv => csv_list::read(store, name, fields, &mut each),
        Format::Parquet => parquet_list::read(store, name, fields, &mut each),
    };
    read.map_err(refused)?;
    // One line without a caption is that picture's trouble, but not all of them.
    if let Some(Line { captions: Err(problem), .. }) = lines.first()
        && lines.iter().all(|line| line.captions.is_err())
    {
        return Err(refused(Refusal::List(format!(
            "none of its {} pictures can be used: {problem}",
            lines.len()
        ))));
    }
    Ok(lines)
}

/// Why a list cannot be read.
#[derive(Debug)]
enum Refusal {
    Store(add_store::StoreError),
    List(String),
    /// The number of a line, from 1.
    Line(usize, String),
}

/// Refuses a list whose first bytes are those of UTF-16.
fn check_utf_8(head: &[u8]) -> Result<(), Refusal> {
    if add_files::has_utf_16_mark(head) {
        return Err(Refusal::Line(1, "expected UTF-8, found UTF-16: save the list as UTF-8".to_owned()));
    }
    Ok(())
}

/// What a line says, in words.
struct Row {
    file: String,
    captions: Result<Vec<String>, String>,
    split: Option<String>,
}

fn line(row: Row, folder: &str) -> Result<Line, String> {
    let split = match row.split.as_deref() {
        None | Some("" | "train") => Split::Train,
        Some("test_pair") => Split::TestPair,
        Some("test_concept") => Split::TestConcept,
        Some(other) => {
            let other = other.escape_debug();
            return Err(format!(
                "{SPLIT}: unknown variant `{other}`, expected `train`, `test_pair` or `test_concept`"
            ));
        }
    };
    Ok(Line { file: inside(&row.file, folder)?, captions: row.captions.and_then(checked), split })
}

/// The path `name`, as seen from `folder`, without the `.` that it may hold.
fn inside(name: &str, folder: &str) -> Result<String, String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let own = name.split('/').filter(|part| *part != "." && !part.is_empty());
    let depth = parts.len();
    parts.extend(own);
    let leads_outside = name.starts_with('/') || parts[depth..].contains(&"..") || parts.len() == depth;
    if leads_outside || Path::new(name).is_absolute() {
        return Err(format!("`{}` is no path inside the folder", name.escape_debug()));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_both_conventions_are_found() {
        let choose = |names: &[&'static str]| Fields::default().choose(names);
        assert_eq!(choose(&["file", "caption", "captions", "x"]), Ok(("file", vec!["caption", "captions"])));
        assert_eq!(choose(&["text", "width", "file_name"]), Ok(("file_name", vec!["text"])));
        assert_eq!(choose(&["file", "text", "caption"]), Ok(("file", vec!["caption"])));
        for (names, part) in [
            (
                &["image", "text"][..],
                "expected the field `file` or `file_name` with the picture's name, found `image`",
            ),
            (&["file", "file_name", "text"], "expected the field"),
            (
                &["file", "capton"],
                "expected a caption in the field `caption`, `captions`, `text`, found `file`",
            ),
        ] {
            let error = choose(names).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
        let own = Fields { file: Some("image".into()), caption: Some("prompt".into()) };
        assert_eq!(own.choose(&["file", "text", "image", "prompt"]), Ok(("image", vec!["prompt"])));
    }

    #[test]
    fn paths_stay_inside() {
        for (name, folder, path) in
            [("./a.png", "", "a.png"), ("b/./a.png", "sub/c", "sub/c/b/a.png"), ("b//a.png", "", "b/a.png")]
        {
            assert_eq!(inside(name, folder), Ok(path.to_owned()));
        }
        for name in ["../a.png", "/a.png", "", ".", "b/../../a.png", "b/../a.png"] {
            assert!(inside(name, "sub").is_err(), "{name}");
        }
    }
}
