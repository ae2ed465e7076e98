//! The program `add-bench`, which `cargo xtask bench` starts: times operations and whole networks, and with `--against`
//! another library on the same shapes in the same run.
//!
//! Each side of a comparison is a process of its own ([`worker`]), so that peak memory belongs to one of them; the two
//! work in turns, so that a machine that slows down slows both. The shapes stand once, in [`cases`], and go to the other
//! library as JSON.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the output of the program")]

mod cases;
mod compare;
mod error;
mod networks;
mod operations;
mod peer;
mod table;
mod worker;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use mimalloc::MiMalloc;
// Linking the umbrella links every plugin; the emoji recipe names some.
use plugins as _;

use crate::{compare::Comparison, error::BenchError};

// As in `add`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Times operations and whole networks, each with its peak memory.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    /// Only benches whose name contains this.
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Another library that does the same work in turns with this one.
    #[arg(long, value_enum)]
    against: Option<Library>,
    /// Measured rounds of each bench.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Threads of either side.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Writes the rows into this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The Python that has PyTorch, diffusers and transformers.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// Does one bench, told what to do on standard input.
    #[arg(long, hide = true, value_name = "NAME")]
    worker: Option<String>,
}

/// A library to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Library {
    /// PyTorch, with diffusers and transformers for the networks; must be installed.
    Torch,
    /// candle, which is built for it first; only the U-Net of SD1.5.
    Candle,
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
        return worker::run(cases::find(name)?);
    }
    let chosen: Vec<_> = cases::all()
        .into_iter()
        .filter(|case| arguments.only.as_ref().is_none_or(|part| case.name.contains(part)))
        .collect();
    if chosen.is_empty() {
        return Err(cases::unknown(arguments.only.as_deref().unwrap_or_default()));
    }
    let peer = peer::prepare(arguments.against, &arguments.python)?;
    let comparison = Comparison { peer, rounds: arguments.rounds, threads: arguments.threads };
    println!("{}", table::HEADING);
    let mut rows = Vec::new();
    for case in &chosen {
        let row = comparison.row(case)?;
        println!("{row}");
        rows.push(row);
        // After each, lest an interrupted hour leave nothing.
        if let Some(path) = &arguments.json {
            table::write(path, &rows)?;
        }
    }
    Ok(())
}
