//! A long run: its memory and its open files must not grow with its steps.

use std::{fs, path::Path, process::Child, thread::sleep, time::Duration};

use super::{
    stage::Stage,
    subject::{self, Subject},
};

/// Steps until everything that a run keeps is there: buffers, caches, moments.
const SETTLED: u64 = 100;
/// The most by which resident memory may grow after that, as a part of it.
const MOST_GROWTH: f64 = 0.02;
/// Time between looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a running process has.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Lines of metrics, one a step.
    step: u64,
    /// Resident memory, in kB.
    resident: u64,
    /// Open files.
    open: usize,
}

/// Runs `steps` steps and compares what the process has after the first hundred with what it has at the end.
pub(super) fn run(stage: &mut Stage, steps: u64) -> Result<String, String> {
    if steps == 0 {
        return Ok("no long run".to_owned());
    }
    if steps < 3 * SETTLED {
        return Err(format!("--soak: expected 0 or at least {} steps, got {steps}", 3 * SETTLED));
    }
    let out = stage.empty("long")?;
    let looks = watch(&stage.subject, &out, steps)?;
    // A checkpoint's write takes memory and files for a moment, at any look: so the most of a stretch of steps that
    // holds some, and the least, are compared, not single looks.
    let stretch = (steps - SETTLED) / 2;
    let early: Vec<Look> = within(&looks, SETTLED, SETTLED + stretch);
    // After the last step the run's own files are closed.
    let late: Vec<Look> = within(&looks, steps - stretch, steps - 1);
    let (Some(before), Some(after)) = (most(&early), most(&late)) else {
        return Err(format!("the run was seen {} times, too seldom to tell", looks.len()));
    };
    let growth = after as f64 / before as f64 - 1.0;
    let files = [&early, &late].map(|looks| looks.iter().map(|look| look.open).min().unwrap_or(0));
    let said = format!(
        "long run of {steps} steps: resident {before} kB, then {after} kB ({:+.2} %), open files {} and {}",
        100.0 * growth,
        files[0],
        files[1]
    );
    let outcome = if growth > MOST_GROWTH {
        Err(format!("memory grew by more than {} %", 100.0 * MOST_GROWTH))
    } else if files[1] != files[0] {
        Err("the number of open files changed".to_owned())
    } else {
        Ok(())
    };
    stage.held(&said, outcome);
    Ok(said)
}

/// Looks at a run until it ends.
fn watch(subject: &Subject, out: &Path, steps: u64) -> Result<Vec<Look>, String> {
    let rarely = ["--set", "run.checkpoint_every=50", "--set", "run.sample_every=100"];
    let mut child = subject.start_with(out, "auto", steps, &rarely)?;
    let mut looks = Vec::new();
    while child.try_wait().map_err(|e| format!("a run cannot be waited for: {e}"))?.is_none() {
        looks.extend(look(&child, out));
        sleep(LOOK_EVERY);
    }
    let ended = subject::ended(child)?;
    if ended.code == 0 { Ok(looks) } else { Err(format!("the long run failed:\n{}", ended.said)) }
}

/// What a process has now; `None` as it ends.
fn look(child: &Child, out: &Path) -> Option<Look> {
    let process = Path::new("/proc").join(child.id().to_string());
    let status = fs::read_to_string(process.join("status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(Look {
        step: subject::steps_logged(out),
        resident: resident.trim().strip_suffix("kB")?.trim().parse().ok()?,
        open: fs::read_dir(process.join("fd")).ok()?.count(),
    })
}

fn within(looks: &[Look], from: u64, to: u64) -> Vec<Look> {
    looks.iter().filter(|look| (from..=to).contains(&look.step)).copied().collect()
}

fn most(looks: &[Look]) -> Option<u64> {
    looks.iter().map(|look| look.resident).max()
}
