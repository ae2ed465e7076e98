//! A run that several MPI processes share, or several threads: to the bit that of one process, also when each keeps a share of
//! moments and averages, when they take turns, when one of them is killed, and when they get a signal.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::subject::{self, ALL, Ended, Subject};

/// Steps of the run; some that are done in turns end before.
const STEPS: u64 = 50;
const TURNS: [u64; 2] = [20, 36];
/// Steps of a run that a signal ends long before.
const LONG: u64 = 5000;
/// Each rank keeps a share of moments and averages.
const SHARDED: [&str; 2] = ["--set", "optimizer_states=Sharded"];
/// The others must have ended so long after one was killed.
const END: Duration = Duration::from_secs(30);

/// The checks with `ranks` processes.
pub(super) fn run(ranks: usize) -> Result<(), String> {
    // Two samples for each part, of which every rank has one.
    let sets = [format!("gradient_accumulation={ranks}"), format!("batch={}", 2 * ranks)];
    let subject = Subject::build_with(ALL[0], &["--features", "mpi"], &sets.each_ref().map(String::as_str))?;
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let mut stage = Ranks { subject, count: ranks, folder, expected: BTreeMap::new() };
    stage.alone()?;
    say!("{STEPS} steps in one process and in {ranks}: {}", stage.together("together", &[])?);
    say!("the same with a share of the states each: {}", stage.together("shares", &SHARDED)?);
    say!("{STEPS} steps on {ranks} threads: {}", stage.threads()?);
    say!("SIGINT to {ranks} threads: {}", stage.interrupted_threads()?);
    say!("taking turns: {}", stage.turns()?);
    say!("a rank killed: {}", stage.killed()?);
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        say!("SIG{signal} to mpirun: {}", stage.signalled(signal, code)?);
    }
    Ok(())
}

struct Ranks {
    subject: Subject,
    count: usize,
    folder: TempDir,
    /// What one process leaves.
    expected: BTreeMap<String, String>,
}

impl Ranks {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn alone(&mut self) -> Result<(), String> {
        let out = self.at("alone");
        fine(&self.subject.finish(&out, "auto", STEPS)?)?;
        self.expected = subject::traces_after(&out, STEPS)?;
        Ok(())
    }

    fn start(&self, out: &Path, steps: u64) -> Result<Child, String> {
        self.start_with(out, steps, &[])
    }

    fn start_with(&self, out: &Path, steps: u64, more: &[&str]) -> Result<Child, String> {
        self.subject.start_ranks(self.count, out, "auto", steps, more)
    }

    fn start_threads(&self, out: &Path, steps: u64) -> Result<Child, String> {
        self.subject.start_with(out, "auto", steps, &["--ranks", &self.count.to_string()])
    }

    /// Every file of the last checkpoint and the metrics must be those of one process.
    fn same(&self, out: &Path) -> Result<String, String> {
        same(&self.expected, &subject::traces_after(out, STEPS)?)
    }

    fn together(&self, name: &str, more: &[&str]) -> Result<String, String> {
        let out = self.at(name);
        fine(&subject::ended(self.start_with(&out, STEPS, more)?)?)?;
        self.same(&out)
    }

    fn threads(&self) -> Result<String, String> {
        let out = self.at("threads");
        fine(&subject::ended(self.start_threads(&out, STEPS)?)?)?;
        self.same(&out)
    }

    fn interrupted_threads(&self) -> Result<String, String> {
        let out = self.at("threads-INT");
        let mut child = self.start_threads(&out, LONG)?;
        wait_for_steps(&out, &mut child)?;
        self.stopped_and_resumed("INT", child, 130, &out)
    }

    fn turns(&self) -> Result<String, String> {
        let out = self.at("turns");
        fine(&self.subject.finish(&out, "auto", TURNS[0])?)?;
        fine(&subject::ended(self.start_with(&out, TURNS[1], &SHARDED)?)?)?;
        fine(&self.subject.finish(&out, "auto", STEPS)?)?;
        self.same(&out)
    }

    fn killed(&self) -> Result<String, String> {
        let out = self.at("killed");
        let mut child = self.start_with(&out, STEPS, &SHARDED)?;
        wait_for_steps(&out, &mut child)?;
        let victim = *children(&child)?.last().ok_or("mpirun has no processes")?;
        let began = Instant::now();
        subject::kill("KILL", victim)?;
        while child.try_wait().map_err(|e| format!("mpirun cannot be waited for: {e}"))?.is_none() {
            if began.elapsed() > END {
                return Err(format!("the others go on {} s after one was killed", END.as_secs()));
            }
            sleep(Duration::from_millis(20));
        }
        let (took, ended) = (began.elapsed(), subject::ended(child)?);
        let last = format!("rank {}", self.count - 1);
        if ended.code == 0 || !ended.said.contains(&last) {
            return Err(format!("expected a failure that names {last}, got {}:\n{}", ended.code, ended.said));
        }
        fine(&subject::ended(self.start(&out, STEPS)?)?)?;
        Ok(format!(
            "all ended in {:.1} s, exit code {}; resumed, {}",
            took.as_secs_f64(),
            ended.code,
            self.same(&out)?
        ))
    }

    fn signalled(&self, signal: &str, code: u8) -> Result<String, String> {
        let out = self.at(signal);
        let mut child = self.start(&out, LONG)?;
        wait_for_steps(&out, &mut child)?;
        self.stopped_and_resumed(signal, child, code, &out)
    }

    /// Sends `signal` to a run, which must leave a checkpoint from which other processes go on.
    fn stopped_and_resumed(
        &self,
        signal: &str,
        child: Child,
        code: u8,
        out: &Path,
    ) -> Result<String, String> {
        let alone = out.with_extension("alone");
        subject::kill(signal, child.id())?;
        let ended = subject::ended(child)?;
        let newest = subject::checkpoints(out).last().copied().unwrap_or(0);
        let expected = format!("exit code {} (that of one process is {code})", ended.code);
        if ended.code == 0 || newest == 0 || newest == LONG {
            return Err(format!("{expected}, newest checkpoint {newest}:\n{}", ended.said));
        }
        // A few steps more, and the same number in one process that no signal reached.
        let steps = newest + TURNS[0];
        fine(&subject::ended(self.start(out, steps)?)?)?;
        fine(&self.subject.finish(&alone, "auto", steps)?)?;
        let same = same(&subject::traces_after(&alone, steps)?, &subject::traces_after(out, steps)?)?;
        Ok(format!("{expected}, checkpoint after step {newest}; resumed, {same}"))
    }
}

/// What a run left must be what one process left.
fn same(expected: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Result<String, String> {
    let differ: Vec<&String> =
        expected.keys().filter(|name| found.get(*name) != expected.get(*name)).collect();
    if differ.is_empty() && found.len() == expected.len() {
        return Ok(format!("{} files have the same SHA-256", found.len()));
    }
    Err(format!("{differ:?} differ from the run of one process"))
}

/// Waits until the run is well under way.
fn wait_for_steps(out: &Path, child: &mut Child) -> Result<(), String> {
    while subject::steps_logged(out) < STEPS / 4 {
        if child.try_wait().map_err(|e| format!("mpirun cannot be waited for: {e}"))?.is_some() {
            return Err("the run ended before it could be disturbed".to_owned());
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn fine(ended: &Ended) -> Result<(), String> {
    if ended.code == 0 { Ok(()) } else { Err(format!("exit code {}:\n{}", ended.code, ended.said)) }
}

/// Process ids of the processes that `mpirun` started, in the order of their start.
fn children(mpirun: &Child) -> Result<Vec<u32>, String> {
    let found = Command::new("pgrep").args(["-P", &mpirun.id().to_string()]).output();
    let found = found.map_err(|e| format!("pgrep cannot be started: {e}"))?;
    let mut ids: Vec<u32> =
        String::from_utf8_lossy(&found.stdout).lines().filter_map(|line| line.trim().parse().ok()).collect();
    ids.sort_unstable();
    Ok(ids)
}
