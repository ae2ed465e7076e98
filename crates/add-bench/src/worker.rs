//! The side of a comparison that does the work: a process that is told on standard input what to do.
//!
//! It says `ready` once the work was done once, answers `go N` with the seconds that N more took, and at the end of its
//! input states `peak BYTES rest BYTES`: the most memory it had since it was ready, and what it had then.

use std::{
    fs,
    io::{self, BufRead, Write},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use add_core::{read::read, train::train};
use add_kernels::{peak_resident, reset_peak_resident};
use add_train::{
    report::StepReport,
    run::{Observer, StartFrom},
};

use crate::{
    cases::{Case, Work},
    error::BenchError,
    feed, networks,
    operations::{self, Job},
};

/// Does what standard input asks for.
pub(crate) fn run(case: Case, threads: u32) -> Result<(), BenchError> {
    add_kernels::compute_on_this_thread();
    let mut job: Job = match case.work {
        Work::Conv { x, out, kernel, pass } => operations::conv(x, out, kernel, pass),
        Work::GroupNormSilu { x, pass } => operations::group_norm_silu(x, pass),
        Work::Attention { q, keys, pass } => operations::attention(q, keys, pass),
        Work::LayerNorm { x, pass } => operations::layer_norm(x, pass),
        Work::Geglu { x, pass } => operations::geglu(x, pass),
        Work::Linear { x, out, pass } => operations::linear(x, out, pass),
        Work::Unet { model, latent, held } => networks::forward(model, latent, held),
        Work::TrainingStep { held } => networks::training_step(held),
        Work::OneStepPicture { codec, held } => networks::one_step_picture(codec, held),
        Work::Feed { size, batch, batches } => feed::batches([size, batch, batches], threads)?,
        Work::Resumed { batch } => feed::resumed(batch)?,
        Work::EmojiStep => return emoji(),
    };
    job();
    let mut orders = Orders::ready();
    while let Some(count) = orders.next() {
        for _ in 0..count {
            job();
        }
        orders.done();
    }
    orders.end();
    Ok(())
}

/// What is asked for, and when.
struct Orders {
    rest: u64,
    since: Instant,
}

/// Prints a line. Where nobody reads any more, the next order will not come either.
fn say(line: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

impl Orders {
    fn ready() -> Self {
        let rest = reset_peak_resident().unwrap_or_default();
        say("ready");
        Self { rest, since: Instant::now() }
    }

    /// How often to work; `None` when nothing more is asked for.
    fn next(&mut self) -> Option<u32> {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).ok()?;
        let count = line.trim().strip_prefix("go ")?.parse().ok()?;
        self.since = Instant::now();
        Some(count)
    }

    fn done(&self) {
        say(&self.since.elapsed().as_secs_f64().to_string());
    }

    fn end(&self) {
        say(&format!("peak {} rest {}", peak_resident().unwrap_or_default(), self.rest));
    }
}

/// Steps of the main job, each when it is asked for.
fn emoji() -> Result<(), BenchError> {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/emoji.ron");
    let assignments = [
        "run=(steps: 1000000, log_every: 1000000, sample_every: 1000000, checkpoint_every: 1000000, keep: 1)",
        "preview=()",
    ];
    let loaded = read(&recipe, &assignments.map(str::to_owned))?;
    let folder =
        tempfile::tempdir().map_err(|source| BenchError::Write { path: std::env::temp_dir(), source })?;
    let stop = AtomicBool::new(false);
    let mut steps = Steps { orders: None, left: 0, stop: &stop };
    train(&loaded, folder.path(), &StartFrom::Fresh, &mut steps, &stop)?;
    // What is left of it is not worth an error.
    let _ = fs::remove_dir_all(folder.path());
    Ok(())
}

/// Lets a run go on for as many steps as are asked for.
struct Steps<'a> {
    orders: Option<Orders>,
    left: u32,
    stop: &'a AtomicBool,
}

impl Observer for Steps<'_> {
    fn begin(&mut self, _: u64, _: u64) {}

    fn step(&mut self, _: u64, _: &StepReport) {
        let orders = self.orders.get_or_insert_with(Orders::ready);
        if self.left > 1 {
            self.left -= 1;
            return;
        }
        if self.left == 1 {
            orders.done();
        }
        if let Some(count) = orders.next() {
            self.left = count;
        } else {
            orders.end();
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn end(&mut self) {}
}
