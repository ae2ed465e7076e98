//! Lines of a run's `metrics.jsonl`, whole ones alone, read on from where the reader was.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    time::UNIX_EPOCH,
};

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::folders::{RunPath, Runs};
use crate::ApiError;

/// Bytes that are read at once; no line is longer.
const AT_ONCE: u64 = 1 << 20;
/// Lines of one answer.
const MOST: usize = 10_000;

/// A place in the file: which file it was, and how far it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// Tells the file from the one that takes its place when a run is resumed.
    pub(super) file: u64,
    pub(super) offset: u64,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    /// Objects with a step; other lines are left out.
    pub(super) rows: Vec<Map<String, Value>>,
    /// Lines that were read, with those that were left out.
    pub(super) lines: usize,
    /// Whether the file is another than before, and was read from its beginning.
    pub(super) anew: bool,
    /// Whether more is there.
    pub(super) more: bool,
}

/// Reads up to a mebibyte of whole lines behind `place`, none that ends behind the byte `until`, and moves it.
pub(super) fn read_on(path: &Path, place: &mut Place, until: u64) -> io::Result<Stretch> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let which = identity(&file)?;
    let anew = which != place.file || length < place.offset;
    if anew {
        *place = Place { file: which, offset: 0 };
    }
    file.seek(SeekFrom::Start(place.offset))?;
    let mut bytes = Vec::new();
    let until = until.min(length);
    file.take(AT_ONCE.min(until.saturating_sub(place.offset))).read_to_end(&mut bytes)?;
    // A line is whole when its end is there; one without an end in all of the bytes is none.
    let whole = match bytes.iter().rposition(|&byte| byte == b'\n') {
        Some(last) => last + 1,
        None if bytes.len() as u64 == AT_ONCE => bytes.len(),
        None => 0,
    };
    place.offset += whole as u64;
    let lines: Vec<&[u8]> = bytes[..whole].split_inclusive(|&byte| byte == b'\n').collect();
    let rows = lines.iter().filter_map(|line| row(line)).collect();
    Ok(Stretch { rows, lines: lines.len(), anew, more: whole > 0 && place.offset < until })
}

fn row(line: &[u8]) -> Option<Map<String, Value>> {
    let row: Map<String, Value> = serde_json::from_slice(line).ok()?;
    row.get("step")?.as_u64()?;
    Some(row)
}

/// What tells a file from another of its name: when it was made, and its number on the disk, which another file may get later.
fn identity(file: &File) -> io::Result<u64> {
    let about = file.metadata()?;
    let made = about.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    let made = made.map_or(0, |made| made.as_nanos() as u64);
    #[cfg(unix)]
    let made = made ^ std::os::unix::fs::MetadataExt::ino(&about).rotate_left(32);
    Ok(made)
}

/// Adds the names of a row's figures, those of lists once for each place.
pub(super) fn name_figures(row: &Map<String, Value>, names: &mut BTreeSet<(String, Option<usize>)>) {
    for (name, value) in row.iter().filter(|(name, _)| *name != "step") {
        match value {
            Value::Array(items) => names.extend((0..items.len()).map(|at| (name.clone(), Some(at)))),
            Value::Number(_) => {
                names.insert((name.clone(), None));
            }
            _ => {}
        }
    }
}

/// The lines from `from` on as `/metrics` answers them.
pub(super) fn page(runs: &Runs, run: &RunPath, from: usize) -> Result<Value, ApiError> {
    let Some(path) = runs.file(run, "metrics.jsonl") else {
        return Ok(json!({ "from": from, "next": from, "rows": [] }));
    };
    let failed = |error: io::Error| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics.jsonl of {}: {error}", run.name))
    };
    let (mut place, mut rows, mut seen) = (Place::default(), Vec::new(), 0);
    loop {
        let read = read_on(&path, &mut place, u64::MAX).map_err(failed)?;
        for row in read.rows {
            if seen >= from && rows.len() < MOST {
                rows.push(row);
            }
            seen += 1;
        }
        if !read.more || rows.len() == MOST {
            break;
        }
    }
    Ok(json!({ "from": from, "next": from + rows.len(), "rows": rows }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn steps(read: &Stretch) -> Vec<u64> {
        read.rows.iter().map(|row| row["step"].as_u64().unwrap()).collect()
    }

    #[test]
    fn lines_come_once_when_they_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, "{\"step\":1}\nnonsense\n{\"step\":2}\n{\"st").unwrap();
        let mut place = Place::default();
        let read = read_on(&path, &mut place, u64::MAX).unwrap();
        assert_eq!((steps(&read), read.lines, read.anew), (vec![1, 2], 3, true));
        assert_eq!(read_on(&path, &mut place, u64::MAX).unwrap().lines, 0);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("ep\":3}\n");
        fs::write(&path, &text).unwrap();
        let read = read_on(&path, &mut place, u64::MAX).unwrap();
        assert_eq!((steps(&read), read.anew), (vec![3], false));
    }

    #[test]
    fn a_rewound_file_is_read_from_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, "{\"step\":1}\n{\"step\":2}\n").unwrap();
        let mut place = Place::default();
        read_on(&path, &mut place, u64::MAX).unwrap();
        let new = folder.path().join("new");
        fs::write(&new, "{\"step\":1}\n{\"step\":9}\n{\"step\":10}\n").unwrap();
        fs::rename(&new, &path).unwrap();
        let read = read_on(&path, &mut place, u64::MAX).unwrap();
        assert_eq!((steps(&read), read.anew), (vec![1, 9, 10], true));
    }

    #[test]
    fn a_line_without_end_does_not_stop_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let long = "x".repeat(5 << 19);
        fs::write(&path, format!("{{\"step\":1}}\n{long}\n{{\"step\":2}}\n")).unwrap();
        let (mut place, mut found) = (Place::default(), Vec::new());
        loop {
            let read = read_on(&path, &mut place, u64::MAX).unwrap();
            found.extend(steps(&read));
            if !read.more {
                break;
            }
        }
        assert_eq!(found, [1, 2]);
    }

    #[test]
    fn a_page_begins_where_it_is_asked_to() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        let lines: Vec<String> = (1..=5).map(|step| format!("{{\"step\":{step}}}\n")).collect();
        fs::write(folder.path().join("a/metrics.jsonl"), lines.concat()).unwrap();
        let runs = Runs::new(folder.path().to_path_buf());
        let page = page(&runs, &runs.run("a").unwrap(), 3).unwrap();
        assert_eq!(page, json!({ "from": 3, "next": 5, "rows": [{ "step": 4 }, { "step": 5 }] }));
    }
}
