//! `add man`: manual pages, one for each command.

use std::{fs, path::PathBuf};

use add_core::error::CoreError;
use clap::{Args, CommandFactory};

use super::check_folder;
use crate::{Arguments, Outcome, terminal::say};

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder of the pages, such as ~/.local/share/man/man1.
    folder: PathBuf,
}

impl Man {
    pub(crate) fn run(&self) -> Outcome {
        check_folder(&self.folder)?;
        fs::create_dir_all(&self.folder).map_err(CoreError::io(&self.folder))?;
        clap_mangen::generate_to(Arguments::command(), &self.folder).map_err(CoreError::io(&self.folder))?;
        say(&format!("manual pages in {}", self.folder.display()));
        Ok(0)
    }
}
