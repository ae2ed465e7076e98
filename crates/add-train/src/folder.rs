//! A run folder: recipe, metrics, samples, checkpoints; one process at a time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{TrainError, events::RunEvents};

/// Longest line of metrics, in bytes; of a longer one the pieces are no lines of metrics.
pub(crate) const MAX_LINE: u64 = 1 << 20;

/// An opened and locked run folder.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Holds the lock for as long as the folder is open; the system releases it when the process dies.
    _lock: File,
    metrics: File,
    /// TensorBoard's file, once it is known from which step the run goes on.
    events: Option<RunEvents>,
}

impl RunFolder {
    /// Creates or opens `path` and locks it.
    ///
    /// # Errors
    /// When another process works on it, or the disk refuses.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        for folder in [path.to_path_buf(), path.join("samples"), path.join("checkpoints")] {
            fs::create_dir_all(&folder).map_err(TrainError::io(&folder))?;
        }
        let lock_path = path.join("lock");
        let options = || OpenOptions::new().create(true).read(true).write(true).truncate(false).clone();
        let mut lock = options().open(&lock_path).map_err(TrainError::io(&lock_path))?;
        if lock.try_lock().is_err() {
            let pid = fs::read_to_string(&lock_path).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0);
            return Err(TrainError::Locked { path: path.to_path_buf(), pid });
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(TrainError::io(&lock_path))?;
        let metrics_path = path.join("metrics.jsonl");
        let metrics = OpenOptions::new().create(true).append(true).open(&metrics_path);
        Ok(Self {
            path: path.to_path_buf(),
            _lock: lock,
            metrics: metrics.map_err(TrainError::io(metrics_path))?,
            events: None,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Where the grid of `step` belongs.
    pub fn sample(&self, step: u64) -> PathBuf {
        self.path.join("samples").join(format!("step-{step:07}.png"))
    }

    /// Writes a text file of the run.
    ///
    /// # Errors
    /// When the disk refuses; the file's old text is then untouched.
    pub fn write(&self, name: &str, text: &str) -> Result<(), TrainError> {
        let path = self.path.join(name);
        add_files::replace(&path, |file| file.write_all(text.as_bytes())).map_err(TrainError::io(path))
    }

    /// Appends a line to `metrics.jsonl` and its numbers to TensorBoard's event file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn append_metrics(&mut self, line: &str) -> Result<(), TrainError> {
        writeln!(self.metrics, "{line}").map_err(TrainError::io(self.path.join("metrics.jsonl")))?;
        self.with_events(|events| events.metrics(line.as_bytes()))
    }

    /// Appends the grid of `step`, which lies at [`sample`](Self::sample), to TensorBoard's event file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn log_sample(&mut self, step: u64) -> Result<(), TrainError> {
        let path = self.sample(step);
        self.with_events(|events| events.sample(step, &path))
    }

    /// Drops the metrics of steps that a resumed run will do again, those numbered above `step`, and begins TensorBoard's
    /// event file with the rest.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn rewind(&mut self, step: u64) -> Result<(), TrainError> {
        let path = self.path.join("metrics.jsonl");
        add_files::replace(&path, |to| keep_until(&path, to, step))
            .and_then(|()| OpenOptions::new().append(true).open(&path))
            .map(|metrics| self.metrics = metrics)
            .map_err(TrainError::io(path))?;
        let events = RunEvents::begin(&self.path, step).map_err(TrainError::io(&self.path))?;
        self.events = Some(events);
        Ok(())
    }

    fn with_events(
        &mut self,
        write: impl FnOnce(&mut RunEvents) -> io::Result<()>,
    ) -> Result<(), TrainError> {
        let Some(events) = &mut self.events else { return Ok(()) };
        write(events).map_err(TrainError::io(events.path()))
    }
}

/// The grids in the folder `samples` of a run, by step.
pub(crate) fn sample_steps(samples: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let step_of = |path: &Path| -> Option<u64> {
        path.file_name()?.to_str()?.strip_prefix("step-")?.strip_suffix(".png")?.parse().ok()
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(samples)? {
        let path = entry?.path();
        found.extend(step_of(&path).map(|step| (step, path)));
    }
    found.sort();
    Ok(found)
}

/// Copies the lines of metrics with a step up to `step`, one at a time; what is no such line is left out.
fn keep_until(from: &Path, to: &mut impl Write, step: u64) -> io::Result<()> {
    let mut from = BufReader::new(add_files::open(from)?.0);
    let mut line = Vec::new();
    while from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
        let written = line.trim_ascii();
        let of: Option<Step> = (!written.is_empty()).then(|| serde_json::from_slice(written).ok()).flatten();
        if of.is_some_and(|of| of.step <= step) {
            to.write_all(written)?;
            to.write_all(b"\n")?;
        }
        line.clear();
    }
    Ok(())
}

/// What of a line is looked at.
#[derive(Deserialize)]
struct Step {
    step: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_told_the_first_ones_number() {
        let folder = tempfile::tempdir().unwrap();
        let _first = RunFolder::open(folder.path()).unwrap();
        let error = RunFolder::open(folder.path()).unwrap_err();
        assert!(matches!(error, TrainError::Locked { pid, .. } if pid == std::process::id()), "{error}");
    }

    #[test]
    fn a_lock_file_without_its_process_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("lock"), "12345\n").unwrap();
        assert!(RunFolder::open(folder.path()).is_ok());
    }

    #[test]
    fn rewinding_drops_later_and_broken_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::open(folder.path()).unwrap();
        for line in ["{\"step\":1}", "no line", "{\"step\":2}", "{\"step\":3}", "{\"ste"] {
            run.append_metrics(line).unwrap();
        }
        run.rewind(2).unwrap();
        run.append_metrics("{\"step\":3,\"again\":1}").unwrap();
        let text = fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
        assert_eq!(text, "{\"step\":1}\n{\"step\":2}\n{\"step\":3,\"again\":1}\n");
    }
}
