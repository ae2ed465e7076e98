//! `add config`: a recipe with every default spelt out, or a check of it.

use add_core::read::show;
use clap::{Args, Subcommand};

use super::{RecipeArgs, print};
use crate::Outcome;

/// Arguments of `config`.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the resolved recipe.
    Show(RecipeArgs),
    /// Read and check the recipe; prints nothing when it is valid.
    Check(RecipeArgs),
}

impl Config {
    pub(crate) fn run(&self) -> Outcome {
        match &self.action {
            Action::Show(recipe) => print(show(&recipe.read(&[])?.recipe).trim_end()),
            Action::Check(recipe) => {
                recipe.read(&[])?;
            }
        }
        Ok(0)
    }
}
