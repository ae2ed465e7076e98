//! `log.txt` of a run folder: what happened, a line each with its time (UTC), over all processes that worked on the run.
//!
//! Nothing is written before the folder is locked for this process; until then lines wait in memory. A log that cannot
//! be written stops no run.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing::{Level, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt,
    registry::LookupSpan,
};

use crate::terminal::clean;

/// The target of events that the terminal shows in another way, or not at all.
pub(crate) const ALONE: &str = "add::log";

/// The file in a run folder.
const FILE: &str = "log.txt";

/// Most bytes that wait for a folder; commands without a run never have one.
const WAITING: usize = 1 << 16;

/// Where lines go.
enum Log {
    Waiting(Vec<u8>),
    Open(File),
}

static LOG: Mutex<Log> = Mutex::new(Log::Waiting(Vec::new()));

/// The layer that writes the log: our own events from `info` on, of others the warnings.
pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    let wanted = Targets::new().with_default(LevelFilter::WARN).with_target("add", Level::INFO);
    fmt::layer()
        .with_ansi(false)
        .log_internal_errors(false)
        .compact()
        .with_writer(|| Line)
        .with_filter(wanted)
}

/// Begins to write into `folder`, behind what is there, with the lines that have waited.
pub(crate) fn open(folder: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join(FILE))?;
    let mut log = lock();
    if let Log::Waiting(lines) = &*log {
        file.write_all(lines)?;
    }
    *log = Log::Open(file);
    Ok(())
}

fn lock() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes what `tracing` has formatted, a whole line at a time.
struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = clean(&text, false);
        match &mut *lock() {
            Log::Waiting(lines) if lines.len() + line.len() > WAITING => {}
            Log::Waiting(lines) => lines.extend_from_slice(line.as_bytes()),
            // On a full disk the run has better things to say than that its log is short.
            Log::Open(file) => drop(file.write_all(line.as_bytes())),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
