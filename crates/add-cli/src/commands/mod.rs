//! The subcommands, one file each.

mod access;
mod completions;
mod config;
mod devices;
mod doctor;
mod eval;
mod export;
mod gpu_check;
mod man;
mod merge;
mod parity;
mod plan;
mod plugins;
mod sample;
mod serve;
mod study;
mod train;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use add_core::{
    assemble, device,
    error::CoreError,
    lora,
    read::{self, LoadedRecipe},
    recipe::SampledModel,
    train::model_path,
    weights::{self, Kept, Use},
};
use clap::{Args, Subcommand};

use crate::{
    Outcome,
    progress::Download,
    terminal::{clean, say},
};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train the model of a recipe.
    Train(train::Train),
    /// Make pictures with a trained model.
    Sample(Box<sample::Sample>),
    /// Answer requests for pictures over HTTP, with a page that shows them while one types.
    Serve(serve::Serve),
    /// Measure the models of a recipe, or folders of pictures.
    Eval(eval::Eval),
    /// Ask people which of several models' pictures they prefer.
    #[command(subcommand)]
    Study(study::Study),
    /// Write a model for other programs: a folder for diffusers, or one file.
    Export(export::Export),
    /// Merge LoRAs into a model of other programs.
    Merge(merge::Merge),
    /// Estimate the memory, arithmetic and communication that a recipe needs.
    Plan(plan::Plan),
    /// Compare this build's numbers with recorded results of the reference libraries.
    Parity(parity::Parity),
    /// Identify a file or folder of weights and report problems with it.
    Doctor(doctor::Doctor),
    /// List the devices of this machine: memory, driver, types of numbers.
    Devices(devices::Devices),
    /// Check the numbers of a GPU, time it, and write a table of the results.
    GpuCheck(gpu_check::GpuCheck),
    /// List the linked plugins.
    Plugins(plugins::Plugins),
    /// Show or check a recipe.
    Config(config::Config),
    /// Print completions of these commands for a shell.
    Completions(completions::Completions),
    /// Write manual pages of these commands.
    Man(man::Man),
}

/// A recipe on the command line.
#[derive(Debug, Args)]
pub(crate) struct RecipeArgs {
    /// The recipe, a RON file such as configs/emoji.ron.
    recipe: PathBuf,
    /// Override a field, such as --set objective.generator.lr=2e-5; may be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
}

impl RecipeArgs {
    fn read(&self, more: &[String]) -> Result<LoadedRecipe, CoreError> {
        read::read(&self.recipe, &[self.set.as_slice(), more].concat())
    }
}

/// Bytes that the recipe's device has taken so far: its pools', or the process's most where the device has none. `None` where
/// neither is known.
fn memory(loaded: &LoadedRecipe) -> Result<Option<u64>, CoreError> {
    let pools = device::of(&loaded.recipe)?.memory_pool_usage().map(|usage| usage.bytes_reserved);
    Ok(pools.or_else(add_kernels::peak_resident))
}

/// Where a recipe's run lies unless told otherwise.
fn run_folder(out: Option<&PathBuf>, loaded: &LoadedRecipe) -> PathBuf {
    out.cloned().unwrap_or_else(|| PathBuf::from("runs").join(&loaded.recipe.name))
}

/// Refuses a folder for results that cannot be made or written to, before any work is done.
fn check_folder(folder: &Path) -> Result<(), CoreError> {
    if folder.metadata().is_ok_and(|kind| !kind.is_dir()) {
        return Err(CoreError::Request(format!("expected a folder, {} is a file", folder.display())));
    }
    add_files::check_writable(folder).map_err(CoreError::io(folder))
}

/// A seed on the command line.
fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

/// The model to work with: the one named, that of the run, or the one shipped with the recipe.
fn student_file(
    named: Option<&PathBuf>,
    out: Option<&PathBuf>,
    loaded: &LoadedRecipe,
) -> Result<PathBuf, CoreError> {
    if let Some(path) = named {
        return Ok(path.clone());
    }
    let run = model_path(&run_folder(out, loaded));
    if run.exists() {
        return Ok(run);
    }
    let shipped = loaded.recipe.sampling.weights.as_ref().map(|name| loaded.resolve(name));
    shipped.filter(|path| path.exists()).ok_or_else(|| CoreError::Weights {
        path: run,
        problem: "no model yet: train the recipe first, or name a model with --weights FILE".to_owned(),
    })
}

/// The model that a recipe samples, with everything that it needs on this machine: at `place`, or else that of its run, the one
/// shipped with it or a released one; with the LoRAs that the recipe adds to it. Beside it the place of its weights, where that
/// is not the recipe's. `kept` is what the recipe keeps of its own beside a model at `place`.
fn sampled_model(
    loaded: &mut LoadedRecipe,
    place: Option<&str>,
    kept: Kept,
) -> Result<(SampledModel, Option<String>), CoreError> {
    let progress = &mut Download::new();
    let (file, place) = match place {
        Some(place) => (weights::choose(loaded, place, kept, progress)?, Some(place.to_owned())),
        None if !loaded.recipe.objective.trains() => (None, None),
        None => {
            let file = student_file(None, None, loaded)?;
            let place = file.to_string_lossy().into_owned();
            (Some(file), Some(place))
        }
    };
    let mut model = if let Some(file) = file {
        weights::fetch(loaded, Use::SamplingTrained, progress)?;
        assemble::sampled(loaded, &file)?
    } else {
        weights::fetch(loaded, Use::Sampling, progress)?;
        let student_timesteps = weights::student_timesteps(loaded)?;
        assemble::untrained(loaded, &loaded.recipe.model, student_timesteps)?
    };
    lora::onto_sampled(loaded, &mut model)?;
    Ok((model.in_types(loaded.recipe.dtype), place))
}

/// What of the recipe was stated on the command line, and is therefore not taken from a released model.
fn kept(set: &[String]) -> Kept {
    let stated = |field: &str| {
        set.iter().any(|set| set.strip_prefix(field).is_some_and(|rest| rest.starts_with(['=', '.'])))
    };
    Kept { text: stated("text"), codec: stated("codec") }
}

/// Prints a result to standard output. Where that is full, the program ends; a reader who closed it has read enough.
fn print(text: &str) {
    print_bytes(format!("{}\n", clean(text, false)).as_bytes());
}

/// The same of bytes that are this program's own.
fn print_bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            say(&format!("standard output: {error}"));
            std::process::exit(1);
        }
        Ok(()) | Err(_) => {}
    }
}

/// Runs a command.
pub(crate) fn run(command: Command) -> Outcome {
    match command {
        Command::Train(train) => train.run(),
        Command::Sample(sample) => sample.run(),
        Command::Serve(serve) => serve.run(),
        Command::Eval(eval) => eval.run(),
        Command::Study(study) => study.run(),
        Command::Export(export) => export.run(),
        Command::Merge(merge) => merge.run(),
        Command::Plan(plan) => plan.run(),
        Command::Parity(parity) => parity.run(),
        Command::Devices(devices) => Ok(devices.run()),
        Command::GpuCheck(check) => check.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Plugins(plugins) => Ok(plugins.run()),
        Command::Config(config) => config.run(),
        Command::Completions(completions) => Ok(completions.run()),
        Command::Man(man) => man.run(),
    }
}
