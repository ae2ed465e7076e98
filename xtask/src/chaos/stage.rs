//! Where runs are tormented: a temporary folder, the undisturbed run, and the dice.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use super::subject::{self, Ended, STEPS, Subject, Tormented};

/// The folder, the undisturbed run in it, and what went wrong so far.
pub(super) struct Stage {
    pub(super) subject: Subject,
    pub(super) dice: ChaCha8Rng,
    folder: TempDir,
    expected: BTreeMap<String, String>,
    /// How long the undisturbed run took.
    lasted: Duration,
    failures: usize,
}

impl Stage {
    /// Builds the binary and does the undisturbed run.
    pub(super) fn open(tormented: Tormented, seed: u64) -> Result<Self, String> {
        let subject = Subject::build(tormented)?;
        let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
        let reference = folder.path().join("undisturbed");
        let began = Instant::now();
        let ended = subject.finish(&reference, "auto", STEPS)?;
        if ended.code != 0 {
            return Err(format!("the undisturbed run failed:\n{}", ended.said));
        }
        let lasted = began.elapsed();
        let expected = subject::traces(&reference)?;
        for file in tormented.files {
            if !expected.contains_key(&format!("{file}.safetensors")) {
                return Err(format!(
                    "a checkpoint should hold {file}.safetensors; it has {:?}",
                    expected.keys()
                ));
            }
        }
        let dice = ChaCha8Rng::seed_from_u64(seed);
        Ok(Self { subject, dice, folder, expected, lasted, failures: 0 })
    }

    /// A path for a run folder where nothing is.
    pub(super) fn empty(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.folder.path().join(name);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(path)
    }

    /// A copy of the undisturbed run.
    pub(super) fn copied(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.empty(name)?;
        copy(&self.folder.path().join("undisturbed"), &path)?;
        Ok(path)
    }

    /// Some moment of a run.
    pub(super) fn moment(&mut self) -> Duration {
        self.lasted.mul_f64(self.dice.random_range(0.0..1.0))
    }

    /// What distinguishes a run that went on to its last step from the undisturbed one.
    pub(super) fn compare(&self, out: &Path, ended: &Ended) -> Result<(), String> {
        if ended.code != 0 {
            return Err(format!("resuming exits with {}:\n{}", ended.code, ended.said));
        }
        let found = subject::traces(out)?;
        let differs = |name: &&String| found.get(*name) != self.expected.get(*name);
        let names: Vec<&String> = self.expected.keys().chain(found.keys()).filter(differs).collect();
        if !names.is_empty() {
            return Err(format!("{names:?} differ from the undisturbed run"));
        }
        if subject::is_writing(out) {
            return Err("an interrupted checkpoint was not cleared away".to_owned());
        }
        Ok(())
    }

    /// Resumes with `resume`, runs to the last step and compares.
    pub(super) fn resumes(&self, out: &Path, resume: &str) -> Result<(), String> {
        self.compare(out, &self.subject.finish(out, resume, STEPS)?)
    }

    /// Counts a failure and tells of it; `true` when there is none.
    pub(super) fn held(&mut self, what: &str, outcome: Result<(), String>) -> bool {
        if let Err(problem) = &outcome {
            eprintln!("{what}: {problem}");
            self.failures += 1;
        }
        outcome.is_ok()
    }

    /// How often something did not hold.
    pub(super) fn failures(&self) -> usize {
        self.failures
    }
}

/// Copies a folder with what is in it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|e| format!("{}: {e}", to.display()))?;
    for path in subject::files(from) {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(|e| format!("{}: {e}", target.display()))?;
        }
    }
    Ok(())
}
