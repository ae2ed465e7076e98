//! Files, recipes and arguments that were damaged, or made to do damage: each is refused with its reason, at once, in
//! little memory, and without a trace outside of the run folder.

mod captions;
mod checkpoints;
mod loras;
mod pickles;
mod pictures;
mod recipes;
mod reports;
mod server;
mod study;
mod tables;
mod weights;

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use wait4::Wait4 as _;

use crate::{binary::command, root};

/// Most time of all cores together, so that a busy machine fails no test.
const MOST_TIME: Duration = Duration::from_secs(1);
/// Most memory, in bytes.
const MOST_MEMORY: u64 = 200 << 20;

/// After so long on the clock a process is not waited for any more.
const HANGS: Duration = Duration::from_mins(1);

/// The smallest run there is: `DATA` stands for its data source.
pub(crate) const TINY: &str = r#"(
    name: "hostile", data: DATA, codec: Identity(), text: Mini(layers: 1, width: 16, heads: 1, tokens: 8),
    model: (
        backbone: Mini(channels: [16], layers: 1, attending_levels: 0, heads: 1, detail: 1),
        schedule: ScaledLinear(),
        weights: Random(),
    ),
    batch: 2, objective: Diffusion(), run: (steps: 1), sampling: (sampler: Ddim(), steps: 1),
)"#;

/// A place for hostile files, which are used one after the other, beside the folder in which `add` runs.
struct Hostile {
    folder: tempfile::TempDir,
    outcomes: Vec<Result<(), String>>,
}

impl Hostile {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["files", "here", "here/run"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder, outcomes: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }

    /// The run folder, the one place where something may be written.
    fn run_folder(&self) -> PathBuf {
        self.folder.path().join("here/run")
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A file that begins with `head` and goes on with a byte for so long; it is never whole in memory.
    fn write_long(&self, name: &str, head: impl AsRef<[u8]>, byte: u8, mebibytes: usize) -> PathBuf {
        let path = self.write(name, head);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let block = vec![byte; 1 << 20];
        (0..mebibytes).for_each(|_| file.write_all(&block).unwrap());
        path
    }

    /// The tiny recipe on `data`.
    fn tiny(&self, data: &str) -> PathBuf {
        self.write("tiny.ron", TINY.replace("DATA", data))
    }

    /// `add` must exit with 1 or 2, say `reason`, and not panic.
    fn refuses(&mut self, arguments: &[&str], reason: &str) {
        self.outcomes.push(self.outcome(arguments, &[1, 2], reason));
    }

    /// `add` must make do with what it is given: exit with 0.
    fn bears(&mut self, arguments: &[&str]) {
        self.outcomes.push(self.outcome(arguments, &[0], ""));
    }

    /// What `add` did instead of ending with one of `codes` in little time and memory, with words that hold `reason`.
    fn outcome(&self, arguments: &[&str], codes: &[i32], reason: &str) -> Result<(), String> {
        let mut command = command(arguments);
        let here = self.folder.path().join("here");
        command.current_dir(&here).env("TMPDIR", &here).env("HOME", &here);
        let before = self.listing();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let watch = Watch::over(child.id());
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let reader = std::thread::spawn(move || {
            let mut said = String::new();
            out.read_to_string(&mut said).map(|_| said)
        });
        let mut said = String::new();
        err.read_to_string(&mut said).unwrap();
        said += &reader.join().unwrap().unwrap();
        let used = child.wait4().unwrap();
        let memory = watch.peak();
        // An unpacked line: a long message is wrapped on the terminal.
        let words = said.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        let time = used.rusage.utime + used.rusage.stime;
        let shown: Vec<String> = arguments.iter().map(|argument| format!("{argument:.80}")).collect();
        let wrong = |what: String| Err(format!("{shown:?}: {what}: {words:.500}"));
        match used.status.code() {
            Some(code) if codes.contains(&code) => {}
            _ => return wrong(format!("{}, expected {codes:?}", used.status)),
        }
        if !words.contains(reason) || said.contains("panicked") {
            return wrong(format!("expected {reason:?}"));
        }
        if time >= MOST_TIME || memory >= MOST_MEMORY {
            return wrong(format!("took {time:?} and {} MiB", memory >> 20));
        }
        let after = self.listing();
        if before != after {
            return wrong(format!(
                "left {:?}",
                after.iter().filter(|p| !before.contains(p)).collect::<Vec<_>>()
            ));
        }
        Ok(())
    }

    /// Everything there is, but for what is in the run folder.
    fn listing(&self) -> Vec<PathBuf> {
        let (mut found, mut folders) = (Vec::new(), vec![self.folder.path().to_path_buf()]);
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() && !path.is_symlink() && path != self.run_folder() {
                    folders.push(path.clone());
                }
                found.push(path);
            }
        }
        found.sort();
        found
    }

    /// At least so many, and each was as it should be.
    fn check(self, at_least: usize) {
        let failures: Vec<&String> =
            self.outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert!(failures.is_empty(), "{failures:#?}");
        assert!(self.outcomes.len() >= at_least, "{}", self.outcomes.len());
    }
}

/// Watches a process until this is asked for what it saw, and ends one that hangs.
///
/// The peak that `wait4` tells is no use here: it begins with that of the process that starts the other, and this one
/// trains models in its other tests.
struct Watch {
    done: Sender<()>,
    thread: JoinHandle<u64>,
}

impl Watch {
    fn over(process: u32) -> Self {
        let (done, asked) = channel();
        let began = Instant::now();
        let thread = std::thread::spawn(move || {
            let mut peak = 0;
            while asked.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
                peak = peak.max(peak_resident(process).unwrap_or(0));
                if began.elapsed() > HANGS {
                    let _ = Command::new("kill").args(["-s", "KILL", &process.to_string()]).status();
                }
            }
            peak
        });
        Self { done, thread }
    }

    /// The most memory that the process has had at once, in bytes; 0 where the system does not say.
    fn peak(self) -> u64 {
        self.done.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

/// The most memory that a running process has had at once, in bytes.
fn peak_resident(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}

/// The main job's recipe.
fn emoji() -> String {
    root().join("configs/emoji.ron").display().to_string()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
