//! `cargo xtask`: the door to everything.
//!
//! `train`, `sample`, `serve`, `study`, `merge`, `eval`, `export`, `plan`, `parity`, `devices`, `gpu-check`, `doctor`, `plugins`,
//! `config`, `completions` and `man` are handed to the release build of `add`; the others are maintenance commands.
#![expect(clippy::print_stderr, reason = "a developer's tool talks to the terminal")]

/// Prints a line. A reader who closed the output has read enough: what is being done goes on.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($line)*);
    }};
}

mod chaos;
mod check;
mod direction;
mod dist;
mod figures;
mod licences;
mod new;
mod orphans;
mod paper;
mod prose;
mod software_gpu;
mod tables;
mod tidy;
mod workspace;

use std::process::{ExitCode, ExitStatus};

use clap::{Parser, Subcommand};

use crate::workspace::clean_cargo;

/// Maintenance commands of the workspace, and every command of `add`.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    /// Cargo features of `add`, such as `cuda` or `wgpu`.
    #[arg(long, default_value = "", value_name = "FEATURES")]
    features: String,
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Format, tidy, clippy, documentation, packages, tests and examples: what CI runs first.
    Check,
    /// Rules that no compiler checks: file sizes, dependency directions, licences, PAPER.md.
    Tidy,
    /// Write the tables of the READMEs that come from committed result files anew.
    Figures,
    /// Build the documentation; a broken link is an error.
    Docs,
    /// Package every crate that may be published, without building it again.
    Package,
    /// Build the release binary, small and stripped, with manual pages and completions; takes half an hour with `--features
    /// cuda`.
    Dist,
    /// Write the skeleton of a plugin, such as `new weighting min-snr`.
    New(new::New),
    /// Kill, damage and interrupt a tiny run of `add`: it must end bit for bit like an undisturbed one.
    Chaos(chaos::Chaos),
    /// Run the rows of the paper's tables in miniature, several seeds each, and write a page about them; what is done is not done
    /// again.
    Paper(tables::Paper),
    /// Compute the path of a GPU on one made of software (Mesa's llvmpipe), and compare it with the processor's.
    SoftwareGpu(software_gpu::SoftwareGpu),
    /// Time operations and networks, with `--against torch` in turns with PyTorch; `bench --help` says more.
    #[command(disable_help_flag = true)]
    Bench {
        /// Handed to `add-bench`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Everything else goes to `add`: train, sample, serve, study, merge, eval, export, plan, parity, devices, gpu-check, doctor,
    /// plugins, config, completions, man.
    #[command(external_subcommand)]
    Add(Vec<String>),
}

fn main() -> ExitCode {
    let Arguments { features, chore } = Arguments::parse();
    let outcome = match chore {
        Chore::Check => check::run(),
        Chore::Tidy => tidy::run(),
        Chore::Figures => figures::run(),
        Chore::Docs => check::docs(),
        Chore::Package => check::package(),
        Chore::Dist => dist::run(&features),
        Chore::New(new) => new.run(),
        Chore::Chaos(chaos) => chaos.run(),
        Chore::Paper(paper) => paper.run(),
        Chore::SoftwareGpu(check) => check.run(),
        Chore::Bench { arguments } => return run(&["-p", "add-bench"], "add-bench", &arguments),
        Chore::Add(arguments) => {
            return run(&["-p", "add-cli", "--features", &features], "add", &arguments);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Builds a program of the workspace and hands over to it, exit code included.
fn run(package: &[&str], program: &str, arguments: &[String]) -> ExitCode {
    let command = [&["run", "--release"], package, &["--bin", program, "--"]].concat();
    let status = clean_cargo().args(command).args(arguments).status();
    match status {
        Ok(status) => ExitCode::from(code(status)),
        Err(error) => {
            eprintln!("cargo cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The code of a finished process; one that a signal ended counts as 128 + its number, as in a shell.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
