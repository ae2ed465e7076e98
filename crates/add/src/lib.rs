//! Adversarial Diffusion Distillation as a library: few-step text-to-image models, sampled and trained from a program.
//!
//! ```
//! # std::env::set_current_dir("../..")?;
//! use add::{Pipeline, Request};
//!
//! let pipeline = Pipeline::from_recipe(add::read("configs/emoji.ron")?)?;
//! let pictures = pipeline.generate(&Request::new("a red apple, noto emoji").seed(7))?;
//! assert_eq!(pictures[0].dimensions(), (32, 32));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`Pipeline`] makes pictures with a released model, or with one that a recipe describes; [`Request`] says which.
//! - [`RecipeBuilder`] describes a run in code, [`read`](fn@read) reads its description from a file.
//! - [`Training`] trains a recipe, tells an observer of every step, and can be stopped and resumed.
//! - [`plugin`] has the traits with which a program adds parts of its own, and [`plugins`] the parts that there are.
//!
//! Every fallible function returns an [`Error`] that says what was expected, what was found and what to do. The same
//! recipe and seed give the same pictures and the same run.

mod builder;
mod pipeline;
mod request;
mod training;

use std::path::{Path, PathBuf};

pub use add_core::{
    error::CoreError as Error,
    read::{LoadedRecipe, show},
    recipe,
};
pub use add_data::RgbImage;
pub use add_plugin as plugin;
pub use add_train::{
    report::{Figure, StepReport},
    run::{Ending, Observer, RunLength, StartFrom},
};
pub use add_weights::{Location, Progress};
pub use builder::RecipeBuilder;
pub use pipeline::Pipeline;
pub use plugins;
pub use request::Request;
pub use training::Training;

/// Reads and checks a recipe, a RON file such as the ones in `configs`.
///
/// # Errors
/// When the file is missing, is not a recipe, or has values that do not fit together; the error names line and column.
pub fn read(path: impl AsRef<Path>) -> Result<LoadedRecipe, Error> {
    add_core::read::read(path.as_ref(), &[])
}

/// Reads and checks a recipe in `text`; `name` stands for its file in errors. Files that it names are relative to the current
/// folder.
///
/// # Errors
/// As [`read`](fn@read).
pub fn parse(text: &str, name: &str) -> Result<LoadedRecipe, Error> {
    Ok(LoadedRecipe { recipe: add_core::read::parse(text, name)?, path: PathBuf::new() })
}
