//! `add` with one more weighting.

mod min_snr;

fn main() -> std::process::ExitCode {
    add_cli::main()
}
