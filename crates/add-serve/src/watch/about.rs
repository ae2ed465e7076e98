//! What is said of a run: in the list, and of the one that is watched.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use add_core::{read::parse, recipe::Recipe};
use add_eval::{
    read_json,
    report::{ChartRule, Presentation, Table, table},
};
use add_train::health::{DEAD_GAP, DEAD_LOGIT, WON};
use serde::Serialize;

use super::folders::{RunPath, Runs};

/// Largest recipe, evaluation and log that are read, in bytes; of a longer log the end.
const MAX_TEXT: u64 = 1 << 20;
/// Warnings that are shown, the last ones.
const NOTES: usize = 6;
/// Bytes of the end of `metrics.jsonl` in which its last line is looked for.
const TAIL: u64 = 64 << 10;

/// A run in the list.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The last step that was logged.
    pub(super) step: Option<u64>,
    /// Steps of the whole run, as its recipe says.
    pub(super) steps: Option<u64>,
    /// Whether a process works on it.
    pub(super) running: bool,
    /// Seconds since something was logged.
    pub(super) age: u64,
}

/// Every run, those that were written last first.
pub(super) fn list(runs: &Runs) -> Vec<Entry> {
    let mut list: Vec<Entry> = runs.all().iter().map(|run| entry(runs, run)).collect();
    list.sort_by(|a, b| (a.age, &a.name).cmp(&(b.age, &b.name)));
    list
}

fn entry(runs: &Runs, run: &RunPath) -> Entry {
    let metrics = runs.file(run, "metrics.jsonl");
    let written = metrics.as_deref().or(Some(&run.folder)).and_then(modified);
    let age = written.and_then(|time| SystemTime::now().duration_since(time).ok()).unwrap_or(Duration::ZERO);
    Entry {
        name: run.name.clone(),
        step: metrics.as_deref().and_then(last_step),
        steps: recipe(runs, run).map(|recipe| recipe.run.steps),
        running: running(runs, run),
        age: age.as_secs(),
    }
}

/// What a page shows of a run beside its curves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct About {
    /// What was trained.
    title: &'static str,
    /// Figures that stand at the top.
    headline: &'static [&'static str],
    /// Steps of the whole run.
    steps: Option<u64>,
    recipe: Option<String>,
    samples: Vec<Grid>,
    evaluation: Option<Table>,
    /// When the evaluation's grid was written, if there is one; milliseconds since 1970.
    compared: Option<u64>,
    /// Warnings of the run, and what cannot be shown.
    notes: Vec<String>,
    health: Health,
    #[serde(skip)]
    pub(super) charts: &'static [ChartRule],
}

/// A sample grid.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Grid {
    step: u64,
    /// When it was written, in milliseconds since 1970.
    time: u64,
}

/// From where on a head no longer teaches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Health {
    won: f64,
    dead_gap: f64,
    dead_logit: f64,
}

/// Reads what a page shows of `run`.
pub(super) fn about(runs: &Runs, run: &RunPath) -> About {
    let mut notes = warnings(runs, run);
    let evaluation = runs.read(run, "evaluation.json", MAX_TEXT).and_then(|bytes| {
        match read_json(&String::from_utf8_lossy(&bytes)) {
            Ok(rows) => table(&rows),
            Err(error) => {
                notes.push(format!("evaluation.json could not be read: {error}"));
                None
            }
        }
    });
    let recipe = recipe(runs, run);
    let Presentation { title, headline, charts } =
        recipe.as_ref().map_or_else(Presentation::default, |recipe| recipe.objective.presentation());
    About {
        title,
        headline,
        steps: recipe.map(|recipe| recipe.run.steps),
        recipe: text(runs, run, "recipe.ron"),
        samples: grids(runs, run),
        evaluation,
        compared: runs.file(run, "evaluation.png").as_deref().and_then(modified).map(milliseconds),
        notes,
        health: Health { won: WON, dead_gap: DEAD_GAP, dead_logit: DEAD_LOGIT },
        charts,
    }
}

fn text(runs: &Runs, run: &RunPath, name: &str) -> Option<String> {
    runs.read(run, name, MAX_TEXT).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The recipe of a run, if this program can read it: another one may have written it.
fn recipe(runs: &Runs, run: &RunPath) -> Option<Recipe> {
    parse(&text(runs, run, "recipe.ron")?, "recipe.ron").ok()
}

fn grids(runs: &Runs, run: &RunPath) -> Vec<Grid> {
    let entries = fs::read_dir(run.folder.join("samples")).into_iter().flatten().flatten();
    let mut grids: Vec<Grid> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let step = name.strip_prefix("step-")?.strip_suffix(".png")?.parse().ok()?;
            let path = runs.file(run, &format!("samples/{name}"))?;
            Some(Grid { step, time: milliseconds(modified(&path)?) })
        })
        .collect();
    grids.sort_by_key(|grid| grid.step);
    grids
}

/// The last warnings of the log, without their time.
fn warnings(runs: &Runs, run: &RunPath) -> Vec<String> {
    let Some(log) = runs.file(run, "log.txt").and_then(|path| tail(&path, MAX_TEXT)) else {
        return Vec::new();
    };
    let log = String::from_utf8_lossy(&log);
    let said = |line: &str| {
        let (_, said) = line.split_once(" WARN ").or_else(|| line.split_once(" ERROR "))?;
        Some(said.trim().to_owned())
    };
    let said: Vec<String> = log.lines().filter_map(said).collect();
    said[said.len().saturating_sub(NOTES)..].to_vec()
}

/// The step of the last whole line.
fn last_step(metrics: &Path) -> Option<u64> {
    let bytes = tail(metrics, TAIL)?;
    let mut lines = bytes.split(|&byte| byte == b'\n').rev();
    lines.find_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok()?.get("step")?.as_u64())
}

/// The last bytes of a file.
fn tail(path: &Path, most: u64) -> Option<Vec<u8>> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let (mut file, length) = add_files::open(path).ok()?;
    file.seek(SeekFrom::Start(length.saturating_sub(most))).ok()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether the process that locked the run's folder is alive. The lock itself is not tried: while it was held here, the run
/// could not begin.
fn running(runs: &Runs, run: &RunPath) -> bool {
    let pid = text(runs, run, "lock").and_then(|text| text.trim().parse::<u32>().ok());
    let alive = |pid: u32| Path::new("/proc").join(pid.to_string()).exists();
    pid.is_some_and(alive)
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(files: &[(&str, &str)]) -> (tempfile::TempDir, Runs, RunPath) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/samples")).unwrap();
        for (name, text) in files {
            fs::write(root.path().join("a").join(name), text).unwrap();
        }
        let runs = Runs::new(root.path().to_path_buf());
        let run = runs.run("a").unwrap();
        (root, runs, run)
    }

    #[test]
    fn the_list_says_how_far_a_run_is_and_whether_it_runs() {
        let pid = std::process::id().to_string();
        let (_root, runs, _) =
            run(&[("metrics.jsonl", "{\"step\":5}\n{\"step\":10}\n{\"ste"), ("lock", &pid)]);
        let list = list(&runs);
        assert_eq!((list.len(), list[0].step, list[0].steps), (1, Some(10), None));
        assert_eq!(list[0].running, Path::new("/proc/self").exists());
        let (_root, runs, _) = run(&[("recipe.ron", "no recipe"), ("lock", "4294967295\n")]);
        assert_eq!(
            super::list(&runs)[0],
            Entry { name: "a".to_owned(), step: None, steps: None, running: false, age: 0 }
        );
    }

    #[test]
    fn warnings_grids_and_a_broken_evaluation_are_told() {
        let log =
            "2026-11-29T10:00:00Z  INFO a: fine\n2026-11-29T10:00:01Z  WARN run: the heads have won step=3\n";
        let (root, runs, run) = run(&[("log.txt", log), ("evaluation.json", "{")]);
        for step in [20, 3] {
            fs::write(root.path().join(format!("a/samples/step-{step:07}.png")), "png").unwrap();
        }
        let about = about(&runs, &run);
        assert_eq!(about.notes[0], "run: the heads have won step=3");
        assert!(about.notes[1].starts_with("evaluation.json could not be read"), "{:?}", about.notes);
        assert_eq!(about.samples.iter().map(|grid| grid.step).collect::<Vec<_>>(), [3, 20]);
        assert_eq!((about.title, about.evaluation), ("Training run", None));
    }
}
