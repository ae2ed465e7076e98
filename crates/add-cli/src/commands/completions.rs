//! `add completions`: what a shell needs to complete these commands.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::print_bytes;
use crate::Arguments;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell. For bash: `add completions bash > ~/.local/share/bash-completion/completions/add`.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> u8 {
        let mut script = Vec::new();
        generate(self.shell, &mut Arguments::command(), "add", &mut script);
        print_bytes(&script);
        0
    }
}
