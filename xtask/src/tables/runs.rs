//! Runs of `add`, each in a folder of its own, done once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use super::rows::Row;
use crate::workspace::root;

/// What a finished run leaves in its folder beside its files: what it was made by, and how long that took.
const DONE: &str = "paper.json";

/// A run that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Job {
    recipe: String,
    name: String,
    seed: u64,
    sets: Vec<String>,
}

impl Job {
    /// A row with a seed, at a learning rate other than its recipe's where one is stated.
    pub(super) fn of_seed(row: &Row, seed: u64, rate: Option<f64>) -> Self {
        let sets = rate.map(|rate| format!("{}={rate:e}", row.rate)).into_iter().collect();
        let name = match rate {
            None => format!("seed-{seed}"),
            Some(rate) => format!("seed-{seed}-lr-{rate:e}"),
        };
        Self { recipe: row.recipe.clone(), name, seed, sets }
    }

    /// A short run that tries a learning rate.
    pub(super) fn of_rate(row: &Row, seed: u64, rate: f64, steps: u64) -> Self {
        let mut job = Self::of_seed(row, seed, Some(rate));
        job.sets.push(format!("run.steps={steps}"));
        Self { name: format!("tuning-{steps}-{}", job.name), ..job }
    }
}

/// Runs jobs.
pub(super) struct Runner {
    add: PathBuf,
    out: PathBuf,
    sets: Vec<String>,
}

impl Runner {
    /// Runs by the binary `add` in the folder `out`, every one with these assignments.
    pub(super) fn new(add: PathBuf, out: &Path, sets: &[String]) -> Self {
        Self { add, out: out.to_path_buf(), sets: sets.to_vec() }
    }

    /// Where a job's files lie.
    pub(super) fn folder(&self, job: &Job) -> PathBuf {
        self.out.join(job.recipe.trim_end_matches(".ron")).join(&job.name)
    }

    /// What a job is made by; one that was done by something else is done again.
    fn made_by(&self, job: &Job) -> Result<Value, String> {
        let path = root().join("configs").join(&job.recipe);
        let sets: Vec<&String> = self.sets.iter().chain(&job.sets).collect();
        let shown = Command::new(&self.add)
            .args(["config", "show"])
            .arg(&path)
            .args(sets.iter().flat_map(|set| ["--set", set.as_str()]))
            .output()
            .map_err(|error| format!("add: {error}"))?;
        if !shown.status.success() {
            return Err(String::from_utf8_lossy(&shown.stderr).into_owned());
        }
        Ok(json!({ "recipe": String::from_utf8_lossy(&shown.stdout), "seed": job.seed }))
    }

    /// Whether a job is done, by the recipe as it is now.
    pub(super) fn is_done(&self, job: &Job) -> bool {
        let Some(done) = self.done(job) else { return false };
        self.made_by(job).is_ok_and(|made_by| done["made_by"] == made_by)
    }

    fn done(&self, job: &Job) -> Option<Value> {
        serde_json::from_str(&fs::read_to_string(self.folder(job).join(DONE)).ok()?).ok()
    }

    /// Does a job unless it is done; one that was broken off goes on.
    pub(super) fn run(&self, job: &Job) -> Result<(), String> {
        if self.is_done(job) {
            return Ok(());
        }
        let folder = self.folder(job);
        say!("{}", folder.display());
        let began = Instant::now();
        let seed = job.seed.to_string();
        let status = Command::new(&self.add)
            .arg("train")
            .arg(root().join("configs").join(&job.recipe))
            .args(["--seed", &seed, "--resume", "auto", "--out"])
            .arg(&folder)
            .args(self.sets.iter().chain(&job.sets).flat_map(|set| ["--set", set.as_str()]))
            .stdout(Stdio::null())
            .status()
            .map_err(|error| format!("add: {error}"))?;
        if !status.success() {
            return Err(format!("{}: add train ended with {status}", folder.display()));
        }
        let done = json!({ "made_by": self.made_by(job)?, "seconds": began.elapsed().as_secs_f64() });
        let path = folder.join(DONE);
        fs::write(&path, done.to_string()).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Seconds that these jobs of a row take, those left out that are done: by a rehearsal of two steps.
    pub(super) fn cost(&self, row: &Row, jobs: &[Job]) -> Result<f64, String> {
        let left: Vec<&Job> = jobs.iter().filter(|job| !self.is_done(job)).collect();
        if left.is_empty() {
            return Ok(0.0);
        }
        let path = root().join("configs").join(&row.recipe);
        let told = Command::new(&self.add)
            .arg("plan")
            .arg(path)
            .arg("--rehearse")
            .args(self.sets.iter().flat_map(|set| ["--set", set.as_str()]))
            .output()
            .map_err(|error| format!("add: {error}"))?;
        if !told.status.success() {
            return Err(String::from_utf8_lossy(&told.stderr).into_owned());
        }
        let each = step_seconds(&String::from_utf8_lossy(&told.stdout))
            .ok_or("add plan names no seconds of a step")?;
        let mut steps = 0;
        for job in left {
            let made_by = self.made_by(job)?;
            steps +=
                run_steps(made_by["recipe"].as_str().unwrap_or_default()).ok_or("a recipe without steps")?;
        }
        Ok(each * steps as f64)
    }
}

/// The seconds of the second step of a rehearsal, from what `add plan` says.
fn step_seconds(told: &str) -> Option<f64> {
    let (_, rest) = told.split_once("rehearsed: steps of ")?;
    let (_, rest) = rest.split_once(" s and ")?;
    rest.split_once(" s,")?.0.parse().ok()
}

/// The steps of a run, from the whole of its recipe.
fn run_steps(recipe: &str) -> Option<u64> {
    let (_, run) = recipe.split_once("\n    run: ")?;
    let (_, steps) = run.split_once("steps: ")?;
    steps.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let row = r#"{"table": "1d", "row": "L_adv", "recipe": "a/b.ron", "fid": 20.8, "clip_score": 0.315}"#;
        serde_json::from_str(row).unwrap()
    }

    #[test]
    fn jobs_that_differ_have_different_folders() {
        let runner = Runner::new(PathBuf::from("add"), Path::new("out"), &[]);
        let jobs = [
            Job::of_seed(&row(), 1, None),
            Job::of_seed(&row(), 2, None),
            Job::of_seed(&row(), 1, Some(5e-5)),
            Job::of_rate(&row(), 1, 5e-5, 300),
            Job::of_rate(&row(), 1, 5e-5, 400),
        ];
        let folders: std::collections::BTreeSet<PathBuf> =
            jobs.iter().map(|job| runner.folder(job)).collect();
        assert_eq!(folders.len(), jobs.len());
        assert!(folders.contains(Path::new("out/a/b/seed-1-lr-5e-5")), "{folders:?}");
        assert_eq!(jobs[3].sets, ["objective.generator.lr=5e-5", "run.steps=300"]);
    }

    #[test]
    fn a_job_that_was_made_by_another_recipe_is_not_done() {
        let folder = tempfile::tempdir().unwrap();
        // `echo` shows another "recipe" for other assignments.
        let runner = |sets: &[String]| Runner::new(PathBuf::from("echo"), folder.path(), sets);
        let (plain, job) = (runner(&[]), Job::of_seed(&row(), 1, None));
        assert!(!plain.is_done(&job));
        fs::create_dir_all(plain.folder(&job)).unwrap();
        let done = json!({ "made_by": plain.made_by(&job).unwrap(), "seconds": 1.0 });
        fs::write(plain.folder(&job).join(DONE), done.to_string()).unwrap();
        assert!(plain.is_done(&job));
        assert!(!runner(&["batch=8".to_owned()]).is_done(&job));
    }

    #[test]
    fn times_and_steps_are_found_in_what_add_says() {
        assert_eq!(
            step_seconds("x\nrehearsed: steps of 0.61 s and 0.29 s, every figure finite\n"),
            Some(0.29)
        );
        assert_eq!(step_seconds("nothing"), None);
        assert_eq!(
            run_steps("(\n    objective: A(\n        steps: 1,\n    ),\n    run: (\n        steps: 1500,\n"),
            Some(1500)
        );
    }
}
