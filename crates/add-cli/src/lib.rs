//! The command line of `add`: the only place with a terminal, a tracing subscriber and an exit code.
//!
//! It is a library so that a binary elsewhere can have it together with plugins of its own. Whatever is linked into the
//! binary and registered with `inventory::submit!` is found by name; the plugins of this repository come with this crate.
//!
//! ```no_run
//! // In the crate of the binary: `mod min_snr;`, a file with a struct and its `inventory::submit!`.
//! fn main() -> std::process::ExitCode {
//!     add_cli::main()
//! }
//! ```
//!
//! `tests/external` in the repository is such a crate. This library sets the global allocator, so a binary on top of it
//! cannot set another.
//!
//! Exit codes: 0 fine, 1 failed, 2 bad usage or recipe, 129, 130 and 143 after SIGHUP, SIGINT and
//! SIGTERM.

mod commands;
mod errors;
mod progress;
mod ranks;
mod run_log;
mod signals;
mod terminal;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use add_core::{device, error::CoreError};
use clap::Parser;
use miette::MietteHandlerOpts;
use mimalloc::MiMalloc;
use tracing_subscriber::{
    Layer,
    filter::{FilterExt, filter_fn},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};
// Linking the umbrella links every plugin.
use plugins as _;

// Training frees and allocates the same large buffers at every step; the system's allocator returns them to the
// kernel each time and pays for it in page faults.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What the terminal shows unless `ADD_LOG` says otherwise: warnings, and which device `Auto()` is. CubeCL warns of every kernel that
/// does not fit a GPU while it looks for one that does.
const SHOWN: &str = "warn,add_core::device=info,cubecl_runtime=error";

/// Adversarial Diffusion Distillation: train, sample and evaluate one-step text-to-image models.
#[derive(Debug, Parser)]
#[command(name = "add", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: commands::Command,
}

/// Reads the arguments of the process, runs the command that they name and returns the exit code of the process.
///
/// # Panics
/// When it is called twice in one process, since it installs the process's tracing subscriber.
pub fn main() -> ExitCode {
    let code = run();
    if device::has_started_driver() {
        leave(code);
    }
    ExitCode::from(code)
}

/// Ends the process without its exit handlers, which may free what a driver's own threads still use: on Mesa's llvmpipe one run in four
/// ended with a segmentation fault after its last line.
fn leave(code: u8) -> ! {
    // Whoever does not read has nothing to be told.
    let _ = io::stdout().flush();
    let _ = io::stderr().flush();
    signal_hook::low_level::exit(code.into())
}

fn run() -> u8 {
    add_kernels::keep_gpus_in_their_order();
    add_kernels::keep_free_memory();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(said) => return tell(&said),
    };
    let colours = terminal::has_colours();
    // Broken lines would break the paths and commands in them. It fails only where a hook is set already.
    let _ = miette::set_hook(Box::new(move |_| {
        Box::new(MietteHandlerOpts::new().wrap_lines(false).color(colours).terminal_links(colours).build())
    }));
    let filter = tracing_subscriber::EnvFilter::try_from_env("ADD_LOG").unwrap_or_else(|_| SHOWN.into());
    let shown = filter.and(filter_fn(|event| event.target() != run_log::ALONE));
    let lines = terminal::Lines { colours };
    let terminal = fmt::layer()
        .with_writer(lines)
        .with_ansi(colours)
        .log_internal_errors(false)
        .compact()
        .with_filter(shown);
    tracing_subscriber::registry().with(terminal).with(run_log::layer()).init();
    let duplicates = add_plugin::duplicates();
    if let Some(twice) = duplicates.first() {
        return fail(
            &miette::miette!("two plugins of {} are named `{}`; rename one", twice.family, twice.name),
            1,
        );
    }
    match commands::run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            let code = code(&error);
            fail(&errors::report(error), code)
        }
    }
}

/// Prints what `clap` says: help and version to standard output, what is wrong with the arguments to standard error.
fn tell(said: &clap::Error) -> u8 {
    match said.print() {
        // A reader who closed it has read enough.
        Err(error) if !said.use_stderr() && error.kind() != io::ErrorKind::BrokenPipe => {
            terminal::say(&format!("standard output: {error}"));
            1
        }
        _ => u8::try_from(said.exit_code()).unwrap_or(2),
    }
}

fn fail(report: &miette::Report, code: u8) -> u8 {
    let report = format!("{report:?}");
    let _ = writeln!(io::stderr(), "{}", terminal::clean(&report, terminal::has_colours()));
    code
}

/// The exit code of a failure.
fn code(error: &CoreError) -> u8 {
    if error.is_usage() { 2 } else { 1 }
}

/// What every command returns: an exit code.
type Outcome = Result<u8, CoreError>;
