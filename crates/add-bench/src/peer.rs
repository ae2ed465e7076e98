//! A process that works when it is told to, ours or another library's.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{Library, cases::Case, error::BenchError};

/// What the Python side of a library is made of.
struct Script {
    file: &'static str,
    /// How the library computes, in the words of the script.
    variant: &'static str,
    /// Whether the script writes the networks into a folder first, in a process of its own.
    exports: bool,
    /// What it imports.
    modules: &'static str,
    /// What `pip` calls them.
    packages: &'static str,
}

/// The files of all scripts.
const FILES: [(&str, &str); 5] = [
    ("protocol.py", include_str!("../peers/protocol.py")),
    ("torch_peer.py", include_str!("../peers/torch_peer.py")),
    ("openvino_peer.py", include_str!("../peers/openvino_peer.py")),
    ("sdcpp_peer.py", include_str!("../peers/sdcpp_peer.py")),
    ("webdataset_peer.py", include_str!("../peers/webdataset_peer.py")),
];

impl Library {
    /// Its name in a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Torch => "torch",
            Self::TorchCompile => "torch-compile",
            Self::TorchBf16 => "torch-bf16",
            Self::Openvino => "openvino",
            Self::OpenvinoBf16 => "openvino-bf16",
            Self::Sdcpp => "sdcpp",
            Self::Candle => "candle",
            Self::Webdataset => "webdataset",
        }
    }

    /// Its script; candle has a program.
    fn script(self) -> Option<Script> {
        let torch = |variant, modules| Script {
            file: "torch_peer.py",
            variant,
            exports: false,
            modules,
            packages: "torch diffusers transformers",
        };
        let openvino = |variant| Script {
            file: "openvino_peer.py",
            variant,
            exports: true,
            modules: "openvino, torch, diffusers, transformers",
            packages: "openvino torch diffusers transformers",
        };
        Some(match self {
            // Operations need nothing else.
            Self::Torch => torch("eager", "torch"),
            Self::TorchCompile => torch("compile", "torch, diffusers, transformers"),
            Self::TorchBf16 => torch("bf16", "torch, diffusers, transformers"),
            Self::Openvino => openvino("f32"),
            Self::OpenvinoBf16 => openvino("bf16"),
            Self::Sdcpp => Script {
                file: "sdcpp_peer.py",
                variant: "f16",
                exports: true,
                modules: "cyllama, torch, diffusers, transformers",
                packages: "cyllama torch diffusers transformers",
            },
            Self::Webdataset => Script {
                file: "webdataset_peer.py",
                variant: "pillow",
                exports: false,
                modules: "webdataset, PIL, numpy, torch",
                packages: "webdataset pillow numpy torch",
            },
            Self::Candle => return None,
        })
    }
}

/// Another library, ready to be started.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) library: Library,
    /// Python, or its own program.
    program: PathBuf,
    /// The folder with the scripts and what they write, removed in the end.
    folder: tempfile::TempDir,
}

/// Makes sure that the library is there; builds candle's side.
pub(crate) fn prepare(library: Library, python: &Path) -> Result<Peer, BenchError> {
    let write = |path: PathBuf| move |source| BenchError::Write { path, source };
    let folder = tempfile::tempdir().map_err(write(std::env::temp_dir()))?;
    let Some(script) = library.script() else {
        return Ok(Peer { library, program: built_candle()?, folder });
    };
    let program = python.display().to_string();
    let start = |source| BenchError::Start { program: program.clone(), source };
    let import = format!("import {}", script.modules);
    let found = Command::new(python).args(["-c", &import]).output().map_err(start)?;
    if !found.status.success() {
        let words = String::from_utf8_lossy(&found.stderr);
        let last = words.lines().last().unwrap_or_default();
        return Err(BenchError::NoPeer(format!(
            "{} is absent: {program} cannot import {} ({last}); `pip install {}`, or name another Python with --python",
            library.name(),
            script.modules,
            script.packages,
        )));
    }
    for (name, text) in FILES {
        let path = folder.path().join(name);
        fs::write(&path, text).map_err(write(path))?;
    }
    Ok(Peer { library, program: python.to_owned(), folder })
}

/// Builds candle's program.
fn built_candle() -> Result<PathBuf, BenchError> {
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
        return Err(BenchError::NoPeer("candle is absent: its side could not be built".to_owned()));
    }
    Ok(target.join("release/candle-peer"))
}

impl Peer {
    /// Starts it on `case`, which it knows.
    pub(crate) fn start(&self, case: &Case, threads: u32) -> Result<Side, BenchError> {
        let work = serde_json::to_string(&case.work).expect("shapes are sayable");
        let mut command = Command::new(&self.program);
        let name = self.library.name();
        let Some(script) = self.library.script() else {
            command.args([work, threads.to_string()]);
            return Side::start(command, threads, name);
        };
        command.arg(self.folder.path().join(script.file));
        command.args([&work, &threads.to_string(), script.variant]);
        if script.exports {
            command.arg(self.exported(&script, case, &work)?);
        }
        Side::start(command, threads, name)
    }

    /// The folder with the networks of `case`, written at the first call.
    fn exported(&self, script: &Script, case: &Case, work: &str) -> Result<PathBuf, BenchError> {
        let folder = self.folder.path().join(case.name.replace(' ', "-"));
        if folder.exists() {
            return Ok(folder);
        }
        fs::create_dir(&folder).map_err(|source| BenchError::Write { path: folder.clone(), source })?;
        let status = Command::new(&self.program)
            .arg(self.folder.path().join(script.file))
            .args(["export", work])
            .arg(&folder)
            // Standard output is the table's.
            .stdout(Stdio::null())
            .status()
            .map_err(|source| BenchError::Start { program: self.program.display().to_string(), source })?;
        if status.success() {
            return Ok(folder);
        }
        let who = format!("the export of {}", self.library.name());
        Err(BenchError::Answer { who, expected: "exit code 0", found: status.to_string() })
    }
}

/// Starts this program on `case`.
pub(crate) fn ours(case: &Case, threads: u32) -> Result<Side, BenchError> {
    let program = std::env::current_exe()
        .map_err(|source| BenchError::Start { program: "add-bench".to_owned(), source })?;
    let mut command = Command::new(program);
    command.args(["--worker", case.name, "--threads", &threads.to_string()]);
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
