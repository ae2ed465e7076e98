//! How far a run is: a bar on a terminal, plain lines when piped.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use add_core::weights;
use add_train::{report::StepReport, run::Observer};
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::{info, warn};

use crate::{
    run_log,
    terminal::{clean, is_capable, say},
};

/// Seconds between plain lines, on the terminal and in the log.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows the steps of a run, and keeps its log.
pub(crate) struct Progress {
    /// The run folder.
    out: PathBuf,
    bar: ProgressBar,
    began: Instant,
    resumed: u64,
    steps: u64,
    spoke: Option<Instant>,
    plain: bool,
}

impl Progress {
    /// The progress of the run in the folder `out`.
    pub(crate) fn new(out: PathBuf) -> Self {
        let plain = !is_capable();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self { out, bar, began: Instant::now(), resumed: 0, steps: 0, spoke: None, plain }
    }
}

impl Observer for Progress {
    fn begin(&mut self, done: u64, steps: u64) {
        (self.began, self.resumed, self.steps) = (Instant::now(), done, steps);
        // The run holds its folder now, so no other process writes this file.
        if let Err(error) = run_log::open(&self.out) {
            warn!("{}: no log.txt: {error}", self.out.display());
        }
        let version = env!("CARGO_PKG_VERSION");
        info!(target: run_log::ALONE, version, done, steps, "training");
        if !self.plain {
            let style = ProgressStyle::with_template(
                "{elapsed_precise} {bar:32.cyan/blue} {pos}/{len} steps, {eta} left  {msg}",
            );
            self.bar =
                ProgressBar::new(steps).with_style(style.expect("the template is valid")).with_position(done);
            self.bar.reset_eta();
        }
    }

    fn step(&mut self, done: u64, report: &StepReport) {
        if !self.plain {
            self.bar.set_position(done);
            self.bar.set_message(losses(report));
        }
        let due = self.spoke.is_none_or(|at| at.elapsed() >= LINE_EVERY);
        if due || done == self.steps {
            self.spoke = Some(Instant::now());
            let each = self.began.elapsed().as_secs_f64() / (done - self.resumed).max(1) as f64;
            let left = Duration::from_secs_f64(each * (self.steps - done) as f64);
            let losses = losses(report);
            info!(target: run_log::ALONE, "step {done}/{}  {each:.3} s/step  {losses}", self.steps);
            if self.plain {
                say(&format!(
                    "step {done}/{}  {each:.3} s/step, {} left  {losses}",
                    self.steps,
                    HumanDuration(left)
                ));
            }
        }
    }

    fn end(&mut self) {
        self.bar.finish();
    }
}

/// Shows nothing: the first of several processes tells how far they are.
pub(crate) struct Quiet;

impl Observer for Quiet {
    fn begin(&mut self, _done: u64, _steps: u64) {}
    fn step(&mut self, _done: u64, _report: &StepReport) {}
    fn end(&mut self) {}
}

/// Shows a count: a bar on a terminal, a line when a count is full.
pub(crate) struct Counter {
    bar: Option<ProgressBar>,
    what: String,
}

impl Counter {
    pub(crate) fn new() -> Self {
        Self { bar: None, what: String::new() }
    }

    /// `done` of `total` of `what`.
    pub(crate) fn show(&mut self, what: &str, done: u64, total: u64) {
        if is_capable() {
            if self.what != what {
                let style = ProgressStyle::with_template("{bar:32.cyan/blue} {pos}/{len}, {eta} left  {msg}");
                let bar = ProgressBar::new(total).with_style(style.expect("the template is valid"));
                bar.set_message(what.to_owned());
                self.bar = Some(bar);
            }
            if let Some(bar) = &self.bar {
                bar.set_position(done);
            }
        } else if done >= total {
            say(&format!("{what}: {total}"));
        }
        what.clone_into(&mut self.what);
    }
}

/// Shows files that come over the network: a bar on a terminal, a line each when piped.
pub(crate) struct Download(ProgressBar);

impl Download {
    pub(crate) fn new() -> Self {
        Self(ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()))
    }
}

impl weights::Progress for Download {
    fn begin(&mut self, file: &str, bytes: u64) {
        if is_capable() {
            let template = "{bar:32.cyan/blue} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left  {msg}";
            let style = ProgressStyle::with_template(template).expect("the template is valid");
            self.0 = ProgressBar::new(bytes).with_style(style).with_message(clean(file, false).into_owned());
        } else {
            say(&format!("fetching {file}, {}", HumanBytes(bytes)));
        }
    }

    fn advance(&mut self, bytes: u64) {
        self.0.inc(bytes);
    }
}

/// The losses of a step, short.
fn losses(report: &StepReport) -> String {
    let shown = report.numbers().filter(|(name, _)| name.starts_with("loss") || *name == "r1");
    let shown = shown.map(|(name, value)| format!("{name} {value:.4}"));
    shown.collect::<Vec<_>>().join("  ")
}
