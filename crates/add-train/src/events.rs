//! TensorBoard's event file of a run folder: what `metrics.jsonl` says, the grids of `samples`, and the recipe.
//!
//! A run that begins or goes on writes a new file from what the folder holds, and then removes those of before: whatever
//! a killed process had not yet written comes from `metrics.jsonl`, and no step comes twice. The new file's name sorts
//! behind the old ones and its first events make a running TensorBoard forget what it has read of this run.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use add_tensorboard::{Content, Event, Records, Value, What, write_record};
use serde_json::{Map, Value as Json};

use super::folder::{MAX_LINE, sample_steps};

/// Largest recipe and picture that go into an event file, in bytes.
const MAX_FILE: u64 = 32 << 20;

/// The beginning and the end of our files' names; files of other writers are left alone.
const NAME: (&str, &str) = ("events.out.tfevents.", ".add");

/// The event file that a run writes.
#[derive(Debug)]
pub(crate) struct RunEvents {
    path: PathBuf,
    file: File,
}

impl RunEvents {
    /// Writes the event file of the run in `folder` anew, as far as `step`, and removes the old ones.
    pub(crate) fn begin(folder: &Path, step: u64) -> io::Result<Self> {
        let old = files(folder)?;
        let times = times(&old);
        let path = folder.join(new_name(old.last()));
        add_files::replace(&path, |to| copy(folder, to, step, &times))?;
        for file in old {
            fs::remove_file(file)?;
        }
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok(Self { path, file })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line of metrics.
    pub(crate) fn metrics(&mut self, line: &[u8]) -> io::Result<()> {
        match scalars(line) {
            Some((step, values)) => self.append(step, values),
            None => Ok(()),
        }
    }

    /// Appends the grid of `step`.
    pub(crate) fn sample(&mut self, step: u64, path: &Path) -> io::Result<()> {
        match picture(path) {
            Some(picture) => self.append(step, vec![picture]),
            None => Ok(()),
        }
    }

    fn append(&mut self, step: u64, values: Vec<Value>) -> io::Result<()> {
        let mut record = Vec::new();
        write(&mut record, now(), step, What::Summary(values))?;
        // In one piece: a process that is killed leaves no half of it.
        self.file.write_all(&record)
    }
}

/// Writes what `folder` holds of a run up to `step`.
fn copy(folder: &Path, to: &mut impl Write, step: u64, times: &BTreeMap<u64, f64>) -> io::Result<()> {
    write(to, now(), 0, What::Version)?;
    write(to, now(), 0, What::Start)?;
    if let Ok(recipe) = add_files::read_text(&folder.join("recipe.ron"), MAX_FILE) {
        // A fence keeps TensorBoard from reading the recipe as Markdown.
        let text = Value::text("recipe", format!("```\n{}\n```", recipe.trim_end()));
        write(to, times.get(&0).copied().unwrap_or_else(now), 0, What::Summary(vec![text]))?;
    }
    let mut metrics = BufReader::new(add_files::open(&folder.join("metrics.jsonl"))?.0);
    let mut line = Vec::new();
    while metrics.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
        if let Some((at, values)) = scalars(&line).filter(|(at, _)| *at <= step) {
            write(to, times.get(&at).copied().unwrap_or_else(now), at, What::Summary(values))?;
        }
        line.clear();
    }
    for (at, path) in sample_steps(&folder.join("samples"))?.into_iter().filter(|(at, _)| *at <= step) {
        if let Some(picture) = picture(&path) {
            write(to, modified(&path).unwrap_or_else(now), at, What::Summary(vec![picture]))?;
        }
    }
    Ok(())
}

fn write(to: &mut impl Write, wall_time: f64, step: u64, what: What) -> io::Result<()> {
    write_record(to, &Event { wall_time, step, what }.encode())
}

/// The step of a line of metrics and its numbers: `loss_g` under its name, the values of a list as `logits_real/0`. What
/// was not finite, and is `null`, is left out.
fn scalars(line: &[u8]) -> Option<(u64, Vec<Value>)> {
    let object: Map<String, Json> = serde_json::from_slice(line).ok()?;
    let step = object.get("step")?.as_u64()?;
    let (mut values, mut exact) = (Vec::new(), written(line).into_iter());
    for (name, figure) in &object {
        match figure {
            Json::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    values.extend(scalar(format!("{name}/{at}"), item, &mut exact));
                }
            }
            single => values.extend(scalar(name.clone(), single, &mut exact)),
        }
    }
    values.retain(|value| value.tag != "step");
    Some((step, values))
}

/// A number under its name; `exact` has the line's numbers in their order.
fn scalar(tag: String, value: &Json, exact: &mut impl Iterator<Item = f64>) -> Option<Value> {
    let read = value.as_f64()?;
    let close = |exact: &f64| (exact - read).abs() <= 4.0 * f64::EPSILON * read.abs();
    Some(Value::scalar(tag, exact.next().filter(close).unwrap_or(read) as f32))
}

/// The numbers in a line's text, outside of its strings. `serde_json` reads some with another last bit than was written, and a mean
/// of two values in single precision lies where that bit decides to which of them it is rounded.
fn written(line: &[u8]) -> Vec<f64> {
    let (mut numbers, mut string, mut escaped) = (Vec::new(), false, false);
    let outside = line.split(|&byte| {
        let quote = byte == b'"' && !escaped;
        escaped = string && byte == b'\\' && !escaped;
        string ^= quote;
        let of_number = byte.is_ascii_digit() || b"+-.eE".contains(&byte);
        quote || string || !of_number
    });
    for piece in outside {
        numbers.extend(std::str::from_utf8(piece).ok().and_then(|text| text.parse::<f64>().ok()));
    }
    numbers
}

/// The grid in a PNG file; `None` where there is no such file.
fn picture(path: &Path) -> Option<Value> {
    let png = add_files::read(path, MAX_FILE).ok()?;
    let header = png.strip_prefix(b"\x89PNG\r\n\x1a\n")?.get(8..16)?;
    let side = |bytes: &[u8]| Some(u32::from_be_bytes(*bytes.first_chunk()?));
    let (width, height) = (side(header)?, side(&header[4..])?);
    Some(Value { tag: "samples".to_owned(), content: Content::Picture { width, height, png } })
}

/// When each step was logged, as the old files say.
fn times(old: &[PathBuf]) -> BTreeMap<u64, f64> {
    let files = old.iter().filter_map(|path| File::open(path).ok());
    let events = files.flat_map(|file| Records::new(BufReader::new(file)));
    let events = events.filter_map(|record| Event::decode(&record));
    let summaries = events.filter(|event| matches!(event.what, What::Summary(_)));
    summaries.map(|event| (event.step, event.wall_time)).collect()
}

/// Our event files in `folder`, the newest last.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(NAME.0) && name.ends_with(NAME.1) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A name that sorts behind that of the `last` file: it begins with the second it was made in, or the one after the last's.
fn new_name(last: Option<&PathBuf>) -> String {
    let second = |path: &PathBuf| -> Option<u64> {
        path.file_name()?.to_str()?.strip_prefix(NAME.0)?.split('.').next()?.parse().ok()
    };
    let after = last.and_then(second).map_or(0, |second| second.saturating_add(1));
    format!("{}{:010}.{}{}", NAME.0, after.max(now() as u64), std::process::id(), NAME.1)
}

fn now() -> f64 {
    seconds(SystemTime::now())
}

fn modified(path: &Path) -> Option<f64> {
    path.metadata().ok()?.modified().ok().map(seconds)
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::RunFolder;

    /// The events of the only file in `folder`, without times.
    fn events(folder: &Path) -> Vec<(u64, What)> {
        let files = files(folder).unwrap();
        assert_eq!(files.len(), 1, "{files:?}");
        let records = Records::new(BufReader::new(File::open(&files[0]).unwrap()));
        let events = records.map(|record| Event::decode(&record).unwrap());
        events.map(|event| (event.step, event.what)).collect()
    }

    /// Each number of the event file: step, name, value.
    fn numbers(folder: &Path) -> Vec<(u64, String, f32)> {
        let mut found = Vec::new();
        for (step, what) in events(folder) {
            let What::Summary(values) = what else { continue };
            for value in values {
                if let Content::Scalar(number) = value.content {
                    found.push((step, value.tag, number));
                }
            }
        }
        found
    }

    /// The same from `metrics.jsonl`, read by other code; [`line`] writes numbers that every reader takes alike.
    fn logged(folder: &Path) -> Vec<(u64, String, f32)> {
        let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
        let mut found = Vec::new();
        for line in text.lines() {
            let line: Json = serde_json::from_str(line).unwrap();
            let step = line["step"].as_u64().unwrap();
            for (name, value) in line.as_object().unwrap().iter().filter(|(name, _)| *name != "step") {
                if let Some(items) = value.as_array() {
                    for (at, item) in items.iter().enumerate() {
                        found.push((step, format!("{name}/{at}"), item.as_f64().unwrap() as f32));
                    }
                } else if let Some(number) = value.as_f64() {
                    found.push((step, name.clone(), number as f32));
                }
            }
        }
        found
    }

    fn line(step: u64, loss: f64) -> String {
        format!(r#"{{"loss":{loss},"bad":null,"logits":[0.1,{loss}],"step":{step}}}"#)
    }

    fn png(path: &Path) {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        bytes.extend([0, 0, 1, 0, 0, 0, 0, 32, 8, 2, 0, 0, 0]);
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn the_event_file_says_what_the_folder_says() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::open(folder.path()).unwrap();
        run.write("recipe.ron", "(\n    seed: 7,\n)\n").unwrap();
        run.rewind(0).unwrap();
        for step in 1..=3 {
            run.append_metrics(&line(step, 1.0 / step as f64)).unwrap();
        }
        png(&run.sample(3));
        run.log_sample(3).unwrap();
        let events = events(folder.path());
        assert_eq!(events[..2], [(0, What::Version), (0, What::Start)]);
        assert_eq!(events[2].1, What::Summary(vec![Value::text("recipe", "```\n(\n    seed: 7,\n)\n```")]));
        let What::Summary(grid) = &events.last().unwrap().1 else { panic!("a summary") };
        assert!(matches!(grid[0].content, Content::Picture { width: 256, height: 32, .. }), "{grid:?}");
        assert_eq!((numbers(folder.path()), 9), (logged(folder.path()), logged(folder.path()).len()));
    }

    #[test]
    fn a_resumed_run_has_no_step_twice_and_none_less() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("events.out.tfevents.1.elsewhere");
        fs::write(&other, "another program's").unwrap();
        {
            let mut run = RunFolder::open(folder.path()).unwrap();
            run.rewind(0).unwrap();
            for step in 1..=4 {
                run.append_metrics(&line(step, 0.5)).unwrap();
                png(&run.sample(step));
                run.log_sample(step).unwrap();
            }
        }
        // What a kill can leave: half a record, here cutting off the last steps.
        let old = files(folder.path()).unwrap().pop().unwrap();
        let bytes = fs::read(&old).unwrap();
        fs::write(&old, &bytes[..bytes.len() / 2]).unwrap();
        let mut run = RunFolder::open(folder.path()).unwrap();
        run.rewind(3).unwrap();
        run.append_metrics(&line(4, 0.25)).unwrap();
        assert_eq!(numbers(folder.path()), logged(folder.path()));
        assert!(files(folder.path()).unwrap()[0] > old, "a later name");
        let grids = events(folder.path()).into_iter().filter(|(_, what)| {
            matches!(what, What::Summary(v) if matches!(v[..], [Value { content: Content::Picture { .. }, .. }]))
        });
        assert_eq!(grids.map(|(step, _)| step).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(other.exists());
    }

    #[test]
    fn a_number_is_rounded_once() {
        // The middle of two neighbours in single precision; a last bit more would lead to the other one.
        let line = br#"{"a\"1":2,"logits":[-0.015021712053567171,null,1e-3],"step":8,"x":0.1}"#;
        let (step, values) = scalars(line).unwrap();
        let numbers: Vec<(&str, f32)> = values
            .iter()
            .map(|value| match value.content {
                Content::Scalar(number) => (value.tag.as_str(), number),
                _ => panic!("{value:?}"),
            })
            .collect();
        let middle: f64 = "-0.015021712053567171".parse().unwrap();
        let want = [("a\"1", 2.0), ("logits/0", middle as f32), ("logits/2", 1e-3), ("x", 0.1)];
        assert_eq!((step, numbers), (8, want.to_vec()));
    }

    #[test]
    fn a_resumed_run_keeps_the_times_of_its_steps() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("metrics.jsonl"), line(5, 1.0)).unwrap();
        let mut old = Vec::new();
        write(&mut old, 1000.5, 5, What::Summary(vec![Value::scalar("loss", 1.0)])).unwrap();
        fs::write(folder.path().join("events.out.tfevents.0000001000.1.add"), old).unwrap();
        RunFolder::open(folder.path()).unwrap().rewind(5).unwrap();
        assert_eq!(times(&files(folder.path()).unwrap()).get(&5), Some(&1000.5));
    }
}
