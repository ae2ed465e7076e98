//! Lists of pictures with their captions: JSON lines, CSV and Parquet, with the fields of this project, of Hugging Face's
//! imagefolder (`file_name`, `text`), or of the recipe's choice.

mod csv_list;
mod json_lines;
mod parquet_list;

use std::{
    io::{Cursor, Read},
    path::{self, Path},
    sync::Arc,
};

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
/// Largest list in UTF-16, in bytes.
const MAX_UTF_16: u64 = 32 << 20;

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
                "expected the field `{expected}` with the picture's name, found {}; `fields: (file: \"…\")` names another",
                found()
            ));
        };
        let captions = self.captions().iter().map(|group| among(group)).find(|found| !found.is_empty());
        let captions = captions.ok_or_else(|| {
            let expected = self.captions().concat().join("`, `");
            format!(
                "expected a caption in the field `{expected}`, found {}; `fields: (caption: \"…\")` names another",
                found()
            )
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
    let root = path::absolute(store.name("")).unwrap_or_default().to_string_lossy().into_owned();
    let mut lines = Vec::new();
    let mut each = |number: usize, row: Row| -> Result<(), Refusal> {
        lines.push(line(row, folder, &root).map_err(|problem| Refusal::Line(number, problem))?);
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

/// The bytes of a list in UTF-8. One in UTF-16, as Windows' shell writes it, is read whole.
fn opened<'a>(store: &'a Store, name: &'a str) -> Result<Box<dyn Read + 'a>, Refusal> {
    let failed = |problem: String| Refusal::Line(1, problem);
    let mut reader = store.reader(name).map_err(Refusal::Store)?;
    let mut bytes = Vec::new();
    reader.by_ref().take(2).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if !add_files::has_utf_16_mark(&bytes) {
        return Ok(Box::new(Cursor::new(bytes).chain(reader)));
    }
    reader.take(MAX_UTF_16).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > MAX_UTF_16 {
        return Err(failed(format!("more than {MAX_UTF_16} bytes of UTF-16: save the list as UTF-8")));
    }
    Ok(Box::new(Cursor::new(add_files::decode_text(bytes).map_err(failed)?.into_bytes())))
}

/// What a line says, in words.
struct Row {
    file: String,
    captions: Result<Vec<String>, String>,
    split: Option<String>,
}

fn line(row: Row, folder: &str, root: &str) -> Result<Line, String> {
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
    let file = below(&row.file, root).map_or_else(|| inside(&row.file, folder), |name| inside(name, ""))?;
    Ok(Line { file, captions: row.captions.and_then(checked), split })
}

/// What a whole path that begins with the store's own says of a file in it.
fn below<'a>(name: &'a str, root: &str) -> Option<&'a str> {
    name.strip_prefix(root.trim_end_matches('/'))?.strip_prefix('/').filter(|_| name.starts_with('/'))
}

/// The path `name`, as seen from `folder`, without the `.` that it may hold.
fn inside(name: &str, folder: &str) -> Result<String, String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let own = name.split('/').filter(|part| *part != "." && !part.is_empty());
    let depth = parts.len();
    parts.extend(own);
    if name.contains("://") {
        return Err(format!(
            "`{}` is an address; expected the path of a picture in the folder",
            name.escape_debug()
        ));
    }
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
        for (name, root, file) in [
            ("/data/pics/sub/a.png", "/data/pics", Some("sub/a.png")),
            ("/data/pics/a.png", "/data/pics/", Some("a.png")),
            ("/data/pics2/a.png", "/data/pics", None),
            ("a.png", "/data/pics", None),
        ] {
            assert_eq!(below(name, root), file, "{name}");
        }
        assert!(inside("https://host/a.png", "").is_err_and(|problem| problem.contains("an address")));
        for name in ["../a.png", "/a.png", "", ".", "b/../../a.png", "b/../a.png"] {
            assert!(inside(name, "sub").is_err(), "{name}");
        }
    }
}
