//! Lists of prompts or captions: plain text, JSON lines or CSV, by the end of the file's name.

use std::{path::Path, str};

use serde::Deserialize;

use crate::{DataError, plain_json};

/// Largest list, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// What it says.
    pub text: String,
    /// The picture that it belongs to, where the list names it.
    pub file: Option<String>,
}

/// A line of JSON, or of CSV by its header; further fields are for others.
#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "caption", alias = "text")]
    prompt: String,
    #[serde(default, alias = "file_name")]
    file: Option<String>,
}

/// Reads a list: `.jsonl` with `{"prompt": "…"}` a line (or `caption`, `text`; and perhaps `file`), `.csv` with a header that
/// names such a column, anything else as text with one prompt a line.
///
/// # Errors
/// When the file cannot be read, an entry is none, or there are no entries.
pub fn read_prompts(path: &Path) -> Result<Vec<Prompt>, DataError> {
    let failed = |problem: String| DataError::List { path: path.to_owned(), problem };
    let text = add_files::read_text(path, MAX_FILE).map_err(|error| failed(error.to_string()))?;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let prompts = match extension.to_ascii_lowercase().as_str() {
        "jsonl" => json_lines(&text),
        "csv" => comma_separated(&text),
        _ => Ok(lines(&text)),
    };
    match prompts.map_err(failed)? {
        prompts if prompts.is_empty() => Err(failed("expected at least one prompt, found none".to_owned())),
        prompts => Ok(prompts),
    }
}

/// One a line; blank lines at the end do not count, others would shift what follows them and are prompts without words.
fn lines(text: &str) -> Vec<Prompt> {
    // Line ends of Windows, then those of old Macs.
    let text = text.trim_end().replace("\r\n", "\n");
    if text.is_empty() {
        return Vec::new();
    }
    text.split(['\n', '\r']).map(|line| Prompt { text: line.trim().to_owned(), file: None }).collect()
}

fn json_lines(text: &str) -> Result<Vec<Prompt>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            let entry: Entry = serde_json::from_str(&plain_json(line))
                .map_err(|error| format!("line {}: {error}", at + 1))?;
            Ok(Prompt { text: entry.prompt, file: entry.file })
        })
        .collect()
}

fn comma_separated(text: &str) -> Result<Vec<Prompt>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    reader
        .deserialize()
        .map(|entry| {
            let entry: Entry =
                entry.map_err(|error| format!("{error}; expected a column prompt, caption or text"))?;
            Ok(Prompt { text: entry.prompt, file: entry.file.filter(|file| !file.is_empty()) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[track_caller]
    fn check(name: &str, content: &str, want: &[(&str, Option<&str>)]) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        fs::write(&path, content).expect("written");
        let got = read_prompts(&path).expect("a list");
        let got: Vec<_> = got.iter().map(|p| (p.text.as_str(), p.file.as_deref())).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn each_kind_of_list_is_read() {
        check(
            "a.txt",
            "a cat\n\n a dog, running \n\n",
            &[("a cat", None), ("", None), ("a dog, running", None)],
        );
        check("a.txt", "a\r\n\r\nb\rc\r", &[("a", None), ("", None), ("b", None), ("c", None)]);
        check(
            "a.jsonl",
            "{\"prompt\": \"a\", \"score\": NaN}\n\n{\"caption\": \"b\", \"file\": \"b.png\"}\n",
            &[("a", None), ("b", Some("b.png"))],
        );
        check(
            "a.csv",
            "id,caption,file_name\n1,\"a cat, \"\"so\"\" she says\",x.png\n2,two,\n",
            &[("a cat, \"so\" she says", Some("x.png")), ("two", None)],
        );
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_line() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content, part) in [
            ("a.jsonl", "{\"prompt\": \"a\"}\n{\"promt\": \"b\"}\n", "line 2: missing field `prompt`"),
            ("a.csv", "id,name\n1,b\n", "expected a column prompt, caption or text"),
            ("a.txt", " \n\n", "found none"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, content).expect("written");
            let error = read_prompts(&path).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(part), "{error}");
        }
        assert!(read_prompts(Path::new("no/such.txt")).unwrap_err().to_string().contains("no/such.txt"));
    }
}
