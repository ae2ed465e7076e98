//! The program `add-bench`, which `cargo xtask bench` starts: times operations and whole networks, and with `--against`
//! other libraries on the same shapes in the same run.
//!
//! Each side of a comparison is a process of its own ([`worker`]), so that peak memory belongs to one of them; the two
//! work in turns, so that a machine that slows down slows both. The shapes stand once, in [`cases`], and go to the other
//! library as JSON.
#![expect(clippy::print_stderr, reason = "the output of the program")]

mod cases;
mod compare;
mod error;
mod feed;
mod networks;
mod operations;
mod peer;
mod table;
mod worker;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{compare::Comparison, error::BenchError};
use clap::{Parser, ValueEnum};
use mimalloc::MiMalloc;

// As in `add`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Times operations and whole networks, each with its peak memory.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    /// Only the bench of this name, or those whose names contain this.
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Other libraries, with commas between, that do the same work in turns with this one.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIBRARY")]
    against: Vec<Library>,
    /// Measured rounds of each bench.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Threads of either side.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Writes the rows into this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The Python that has the libraries, with diffusers and transformers for their networks.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// Does one bench, told what to do on standard input.
    #[arg(long, hide = true, value_name = "NAME")]
    worker: Option<String>,
}

/// A library to compare with. It computes as its name says, whatever our side of a bench computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Library {
    /// PyTorch as it is, in f32.
    Torch,
    /// PyTorch's networks compiled by `torch.compile`, in f32.
    TorchCompile,
    /// PyTorch's networks in bf16; a training step by autocast.
    TorchBf16,
    /// OpenVINO with the hint f32; whole networks without a training step.
    Openvino,
    /// OpenVINO with the hint bf16.
    OpenvinoBf16,
    /// stable-diffusion.cpp, by the package cyllama: pictures alone, with values in f16.
    Sdcpp,
    /// candle, which is built for it first; only the U-Net of SD1.5.
    Candle,
    /// webdataset with Pillow in PyTorch's loader: reading pictures alone.
    Webdataset,
}

fn main() -> ExitCode {
    add_kernels::keep_free_memory();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), BenchError> {
    if let Some(name) = &arguments.worker {
        return worker::run(cases::find(name)?, arguments.threads);
    }
    let chosen = cases::chosen(arguments.only.as_deref())?;
    let peers = present(&arguments.against, &arguments.python)?;
    let comparison = Comparison { rounds: arguments.rounds, threads: arguments.threads };
    say(table::HEADING);
    let mut rows = Vec::new();
    for case in &chosen {
        let mut known: Vec<_> =
            peers.iter().filter(|peer| case.is_known_to(peer.library)).map(Some).collect();
        if known.is_empty() {
            known.push(None);
        }
        for peer in known {
            let row = comparison.row(case, peer)?;
            say(&row.to_string());
            rows.push(row);
            // After each, lest an interrupted hour leave nothing.
            if let Some(path) = &arguments.json {
                table::write(path, &rows)?;
            }
        }
    }
    Ok(())
}

/// Prints a line. A reader who closed the output has read enough: the file of results is still written.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// The libraries that are there. One that is not is named; that none is there is an error.
fn present(libraries: &[Library], python: &Path) -> Result<Vec<peer::Peer>, BenchError> {
    let mut peers = Vec::new();
    let mut absent = Vec::new();
    for &library in libraries {
        match peer::prepare(library, python) {
            Ok(peer) => peers.push(peer),
            Err(error) => absent.push(error),
        }
    }
    let last = if peers.is_empty() { absent.pop() } else { None };
    for error in &absent {
        eprintln!("{error}");
    }
    last.map_or(Ok(peers), Err)
}
