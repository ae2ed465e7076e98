//! The binary `add`: the library's command line, with the plugins of this repository.

fn main() -> std::process::ExitCode {
    add_cli::main()
}
