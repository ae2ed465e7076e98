//! A process that works when it is told to, ours or another library's.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{
    Library,
    cases::{Case, Peers},
    error::BenchError,
};

/// What PyTorch's side runs.
const TORCH: &str = include_str!("../peers/torch_peer.py");

/// Another library, ready to be started.
#[derive(Debug)]
pub(crate) enum Peer {
    /// Nothing is compared.
    None,
    /// The same case in PyTorch.
    Torch {
        /// The Python that has it.
        python: PathBuf,
        /// The folder with its script, removed in the end.
        folder: tempfile::TempDir,
    },
    /// The same case in candle.
    Candle {
        /// Its program.
        program: PathBuf,
    },
}

/// Makes sure that the library is there; builds candle's side.
pub(crate) fn prepare(library: Option<Library>, python: &Path) -> Result<Peer, BenchError> {
    match library {
        None => Ok(Peer::None),
        Some(Library::Torch) => {
            let program = python.display().to_string();
            let start = |source| BenchError::Start { program, source };
            let found = Command::new(python).args(["-c", "import torch"]).output().map_err(start)?;
            if !found.status.success() {
                let words = String::from_utf8_lossy(&found.stderr);
                let last = words.lines().last().unwrap_or_default();
                return Err(BenchError::NoPeer(format!(
                    "{} cannot import torch ({last}); pip install torch diffusers transformers, or name another \
                     Python with --python",
                    python.display()
                )));
            }
            let folder = tempfile::tempdir()
                .map_err(|source| BenchError::Write { path: std::env::temp_dir(), source })?;
            let path = folder.path().join("torch_peer.py");
            fs::write(&path, TORCH).map_err(|source| BenchError::Write { path, source })?;
            Ok(Peer::Torch { python: python.to_owned(), folder })
        }
        Some(Library::Candle) => {
            let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/candle");
            let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/candle");
            let built = Command::new("cargo")
                .args(["build", "--release", "--manifest-path"])
                .arg(package.join("Cargo.toml"))
                .arg("--target-dir")
                .arg(&target)
                .status()
                .map_err(|source| BenchError::Start { program: "cargo".to_owned(), source })?;
            if !built.success() {
                return Err(BenchError::NoPeer("candle's side could not be built".to_owned()));
            }
            Ok(Peer::Candle { program: target.join("release/candle-peer") })
        }
    }
}

impl Peer {
    /// Its name in a table, where it can do the work of `case`.
    pub(crate) fn name(&self, case: &Case) -> Option<&'static str> {
        match (self, case.peers) {
            (Self::Torch { .. }, Peers::Torch | Peers::TorchAndCandle) => Some("torch"),
            (Self::Candle { .. }, Peers::TorchAndCandle) => Some("candle"),
            _ => None,
        }
    }

    /// Starts it on `case`.
    pub(crate) fn start(&self, case: &Case, threads: u32) -> Result<Side, BenchError> {
        let work = serde_json::to_string(&case.work).expect("shapes are sayable");
        let mut command = match self {
            Self::None => unreachable!("no library, no name"),
            Self::Torch { python, folder } => {
                let mut command = Command::new(python);
                command.arg(folder.path().join("torch_peer.py"));
                command
            }
            Self::Candle { program } => Command::new(program),
        };
        command.args([work, threads.to_string()]);
        Side::start(command, threads, self.name(case).unwrap_or_default())
    }
}

/// Starts this program on `case`.
pub(crate) fn ours(case: &Case, threads: u32) -> Result<Side, BenchError> {
    let program = std::env::current_exe()
        .map_err(|source| BenchError::Start { program: "add-bench".to_owned(), source })?;
    let mut command = Command::new(program);
    command.args(["--worker", case.name]);
    Side::start(command, threads, "ours")
}

/// A running side of a comparison.
#[derive(Debug)]
pub(crate) struct Side {
    who: String,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// Memory of a side, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The most while it worked.
    pub(crate) peak: u64,
    /// Before it worked.
    pub(crate) rest: u64,
}

impl Side {
    fn start(mut command: Command, threads: u32, who: &str) -> Result<Self, BenchError> {
        // A thread that waits must not keep the other side's processor busy.
        let threads = threads.to_string();
        for variable in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
            command.env(variable, &threads);
        }
        command.env("OMP_WAIT_POLICY", "passive").stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = |source| BenchError::Start { program: who.to_owned(), source };
        let mut child = command.spawn().map_err(started)?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take().expect("it was asked for"));
        let mut side = Self { who: who.to_owned(), child, orders, answers: BufReader::new(answers) };
        let word = side.answer();
        if word == "ready" { Ok(side) } else { Err(side.failure("`ready`", word)) }
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        // A side that has died answers nothing, which is no answer to anything.
        let _ = self.answers.read_line(&mut line);
        line.trim().to_owned()
    }

    fn failure(&self, expected: &'static str, found: String) -> BenchError {
        BenchError::Answer { who: self.who.clone(), expected, found }
    }

    /// Seconds that `count` times of the work take.
    pub(crate) fn go(&mut self, count: u32) -> Result<f64, BenchError> {
        if let Some(orders) = &mut self.orders {
            // Should it have died, its answer shows it.
            let _ = writeln!(orders, "go {count}").and_then(|()| orders.flush());
        }
        let answer = self.answer();
        answer.parse().map_err(|_| self.failure("seconds", answer))
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Result<Memory, BenchError> {
        drop(self.orders.take());
        let answer = self.answer();
        let words: Vec<&str> = answer.split(' ').collect();
        let memory = match words[..] {
            ["peak", peak, "rest", rest] => {
                peak.parse().and_then(|peak| Ok(Memory { peak, rest: rest.parse()? }))
            }
            _ => "".parse().map(|peak| Memory { peak, rest: 0 }),
        };
        memory.map_err(|_: std::num::ParseIntError| self.failure("`peak BYTES rest BYTES`", answer))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        drop(self.orders.take());
        // Both fail only where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
