//! A run folder: recipe, metrics, samples, checkpoints; one process at a time.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use crate::TrainError;

/// An opened and locked run folder.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Holds the lock for as long as the folder is open; the system releases it when the process dies.
    _lock: File,
    metrics: File,
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
        let mut partial = path.clone().into_os_string();
        partial.push(".tmp");
        fs::write(&partial, text).and_then(|()| fs::rename(&partial, &path)).map_err(TrainError::io(path))
    }

    /// Appends a line to `metrics.jsonl`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn append_metrics(&mut self, line: &str) -> Result<(), TrainError> {
        writeln!(self.metrics, "{line}").map_err(TrainError::io(self.path.join("metrics.jsonl")))
    }

    /// Drops the metrics of steps that a resumed run will do again: those numbered above `step`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn rewind_metrics(&mut self, step: u64) -> Result<(), TrainError> {
        let path = self.path.join("metrics.jsonl");
        let lines = BufReader::new(File::open(&path).map_err(TrainError::io(&path))?).lines();
        let kept = lines.map_while(Result::ok).filter(|line| {
            let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
            value.and_then(|v| v.get("step")?.as_u64()).is_some_and(|s| s <= step)
        });
        let text: String = kept.map(|line| line + "\n").collect();
        self.write("metrics.jsonl", &text)?;
        self.metrics = OpenOptions::new().append(true).open(&path).map_err(TrainError::io(&path))?;
        Ok(())
    }
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
        for line in ["{\"step\":1}", "{\"step\":2}", "{\"step\":3}", "{\"ste"] {
            run.append_metrics(line).unwrap();
        }
        run.rewind_metrics(2).unwrap();
        run.append_metrics("{\"step\":3,\"again\":1}").unwrap();
        let text = fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
        assert_eq!(text, "{\"step\":1}\n{\"step\":2}\n{\"step\":3,\"again\":1}\n");
    }
}
