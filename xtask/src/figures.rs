//! `cargo xtask figures`: the tables of the READMEs that come from committed result files.
//!
//! A table stands between two comments, of which the first says what it shows, the file beside the README and the metrics:
//!
//! ```text
//! <!-- figures: emoji-student.evaluation.json | fd-mobilenet-17, accuracy-concept, diversity -->
//! <!-- end of figures -->
//! ```
//!
//! `tidy` finds one that is not what its file says.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::workspace::{files_with, read, read_json, root};

const BEGINS: &str = "<!-- figures: ";
const ENDS: &str = "<!-- end of figures -->";

/// Writes every table anew.
pub(crate) fn run() -> Result<(), String> {
    for path in pages() {
        let text = read(&path)?;
        let renewed = renewed(&text, &path)?;
        if renewed != text {
            fs::write(&path, renewed).map_err(|error| format!("{}: {error}", path.display()))?;
            say!("{}", path.display());
        }
    }
    Ok(())
}

/// The READMEs whose tables are not what their files say.
pub(crate) fn stale() -> Result<Vec<String>, String> {
    let mut breaches = Vec::new();
    for path in pages() {
        let text = read(&path)?;
        if renewed(&text, &path)? != text {
            let name = path.strip_prefix(root()).unwrap_or(&path).display();
            breaches.push(format!("{name}: a table differs from its result file; run `cargo xtask figures`"));
        }
    }
    Ok(breaches)
}

/// The README and what is in the folders that have results.
fn pages() -> Vec<PathBuf> {
    let mut pages = files_with(["configs", "crates"].map(|folder| root().join(folder)).to_vec(), "md");
    pages.push(root().join("README.md"));
    pages
}

/// The text of the README at `path` with every table as its file has it.
fn renewed(text: &str, path: &Path) -> Result<String, String> {
    let mut renewed = String::new();
    let mut rest = text;
    // Only a line of its own is a table's: the words may stand within another, as above.
    while let Some(at) = line_that_starts(rest, BEGINS) {
        let failed = |problem: &str| format!("{}: {problem}", path.display());
        let (before, from) = rest.split_at(at);
        let (first, below) =
            from.split_once('\n').ok_or_else(|| failed("a table of figures without an end"))?;
        let end = line_that_starts(below, ENDS).ok_or_else(|| failed("a table of figures without an end"))?;
        let stated = first.strip_prefix(BEGINS).and_then(|line| line.trim_end().strip_suffix(" -->"));
        let (file, metrics) = stated
            .and_then(|line| line.split_once(" | "))
            .ok_or_else(|| failed("expected `<!-- figures: FILE | METRIC, METRIC -->`"))?;
        let metrics: Vec<&str> = metrics.split(", ").collect();
        let folder = path.parent().unwrap_or(Path::new("."));
        let table = table(&folder.join(file), &metrics)?;
        let _ = write!(renewed, "{before}{first}\n{table}");
        rest = &below[end..];
    }
    Ok(renewed + rest)
}

/// Where the first line that starts so starts.
fn line_that_starts(text: &str, start: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with(start) {
            return Some(at);
        }
        at += line.len();
    }
    None
}

/// What the rows of one line of a table have in common.
const SETTING: [&str; 5] = ["split", "model", "steps", "sampler", "guidance"];

/// The evaluation at `path` as a table with a column for each of `metrics`.
fn table(path: &Path, metrics: &[&str]) -> Result<String, String> {
    let rows: Vec<Value> = read_json(path)?;
    if let Some(unknown) = metrics.iter().find(|&&metric| rows.iter().all(|row| row["metric"] != metric)) {
        return Err(format!("{}: it has no {unknown}", path.display()));
    }
    let mut settings: Vec<&Value> = Vec::new();
    for row in &rows {
        if !settings.iter().any(|&other| same(other, row)) {
            settings.push(row);
        }
    }
    let mut table = format!(
        "| captions | model | steps | sampler | guidance | pictures | {} | ms a picture |\n|{}\n",
        metrics.join(" | "),
        "---|".repeat(SETTING.len() + 2 + metrics.len())
    );
    for setting in settings {
        let here: Vec<&Value> = rows.iter().filter(|row| same(row, setting)).collect();
        let figures = metrics.iter().map(|&metric| {
            here.iter().find(|row| row["metric"] == metric).map_or_else(|| "-".to_owned(), |row| figure(row))
        });
        let pictures = here.iter().filter_map(|row| row["n"].as_u64()).max();
        let named = SETTING.iter().map(|&name| shown(&setting[name]));
        let milliseconds =
            setting["seconds_per_image"].as_f64().map(|seconds| format!("{:.1}", 1000.0 * seconds));
        let last = milliseconds.unwrap_or_else(|| "-".to_owned());
        let cells: Vec<String> = named
            .chain([pictures.map_or_else(String::new, |n| n.to_string())])
            .chain(figures)
            .chain([last])
            .collect();
        let _ = writeln!(table, "| {} |", cells.join(" | "));
    }
    Ok(table)
}

fn same(a: &Value, b: &Value) -> bool {
    SETTING.iter().all(|&name| a[name] == b[name])
}

/// A value of a setting as a cell.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A figure, and half of its interval where it has one.
fn figure(row: &Value) -> String {
    let value = row["value"].as_f64().unwrap_or(f64::NAN);
    match (row["interval"][0].as_f64(), row["interval"][1].as_f64()) {
        (Some(low), Some(high)) => format!("{value:.3} ± {:.3}", (high - low) / 2.0),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_becomes_what_its_file_says_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let row = |model: &str, metric: &str, value: f64| {
            serde_json::json!({"model": model, "steps": 1, "sampler": "AddRefine", "guidance": 1.0, "split": "train", "metric": metric,
                "value": value, "interval": [value - 0.25, value + 0.25], "n": 500, "seconds_per_image": 0.0125})
        };
        let rows = [row("student", "fd", 1.5), row("student", "diversity", 0.5), row("teacher", "fd", 2.0)];
        fs::write(folder.path().join("a.json"), Value::from(rows.to_vec()).to_string()).unwrap();
        let readme = folder.path().join("README.md");
        let text = "above\n<!-- figures: a.json | fd, diversity -->\nold\n<!-- end of figures -->\nbelow\n";
        let new = renewed(text, &readme).unwrap();
        let line = "| train | student | 1 | AddRefine | 1.0 | 500 | 1.500 ± 0.250 | 0.500 ± 0.250 | 12.5 |";
        assert!(new.contains(line), "{new}");
        assert!(
            new.contains("| train | teacher | 1 | AddRefine | 1.0 | 500 | 2.000 ± 0.250 | - | 12.5 |"),
            "{new}"
        );
        assert!(
            new.starts_with("above\n<!-- figures") && new.ends_with("<!-- end of figures -->\nbelow\n"),
            "{new}"
        );
        assert_eq!(renewed(&new, &readme).unwrap(), new, "a second time nothing changes");
        assert!(!new.contains("old"));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.json"), "[]").unwrap();
        let readme = folder.path().join("README.md");
        let of = |first: &str, last: &str| renewed(&format!("{first}\n{last}\n"), &readme).unwrap_err();
        assert!(of("<!-- figures: b.json | fd -->", ENDS).contains("b.json"));
        assert!(of("<!-- figures: a.json | fd -->", ENDS).contains("no fd"));
        assert!(of("<!-- figures: a.json -->", ENDS).contains("METRIC"));
        assert!(of("<!-- figures: a.json | fd -->", "").contains("without an end"));
    }
}
