//! `add export`: a model for other programs.

use std::path::PathBuf;

use add_core::{
    error::CoreError,
    export::{self, LoraNames, Precision},
    read::{self, LoadedRecipe},
    train::model_path,
    weights::{self, Use},
};
use clap::{Args, ValueEnum};

use super::print;
use crate::{Outcome, progress::Download};

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A run's folder, or a recipe whose model is a released one.
    run: PathBuf,
    /// The new folder.
    dir: PathBuf,
    /// For which programs the model, or the LoRA that a run trained, is written.
    #[arg(long, value_enum)]
    format: Format,
    /// Number type of the weights.
    #[arg(long, value_enum, default_value = "f16")]
    dtype: Dtype,
    /// Override a field of the recipe, such as --set 'sampling.sampler=Euler()'; may be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A folder for each network: for diffusers.
    Diffusers,
    /// All networks in one file, as of Stable Diffusion's own code: for ComfyUI, A1111's web UI, stable-diffusion.cpp.
    Ldm,
    /// The LoRA of a run in kohya's names: for ComfyUI and A1111's web UI.
    Kohya,
    /// The LoRA of a run in peft's names: for diffusers.
    Peft,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dtype {
    /// Half precision.
    F16,
    /// Half precision with the range of f32.
    Bf16,
    /// Single precision.
    F32,
}

impl Export {
    pub(crate) fn run(&self) -> Outcome {
        let precision = match self.dtype {
            Dtype::F16 => Precision::F16,
            Dtype::Bf16 => Precision::Bf16,
            Dtype::F32 => Precision::F32,
        };
        let (recipe, trained) = self.source()?;
        let format = match self.format {
            Format::Diffusers => export::Format::Diffusers,
            Format::Ldm => export::Format::Ldm,
            Format::Kohya => return self.lora(&recipe, LoraNames::Kohya, precision),
            Format::Peft => return self.lora(&recipe, LoraNames::Peft, precision),
        };
        export::check(&recipe, format, &self.dir)?;
        let progress = &mut Download::new();
        let wanted = if trained.is_some() { Use::SamplingTrained } else { Use::Sampling };
        weights::fetch(&recipe, wanted, progress)?;
        for file in export::export(&recipe, trained.as_deref(), format, precision, &self.dir)? {
            print(&file.display().to_string());
        }
        Ok(0)
    }

    /// The adapters of a run.
    fn lora(&self, recipe: &LoadedRecipe, names: LoraNames, precision: Precision) -> Outcome {
        if !self.run.is_dir() {
            let problem = "a LoRA comes from a run: expected its folder in place of a recipe".to_owned();
            return Err(CoreError::Request(problem));
        }
        for file in export::lora(recipe, &self.run, names, precision, &self.dir)? {
            print(&file.display().to_string());
        }
        Ok(0)
    }

    /// The recipe, and the model file of a run.
    fn source(&self) -> Result<(LoadedRecipe, Option<PathBuf>), CoreError> {
        if !self.run.is_dir() {
            return Ok((read::read(&self.run, &self.set)?, None));
        }
        let recipe = read::read(&self.run.join("recipe.ron"), &self.set)?;
        let model = model_path(&self.run);
        if model.exists() {
            return Ok((recipe, Some(model)));
        }
        let problem = "the run has left no model yet; finish it, or stop it with Ctrl-C".to_owned();
        Err(CoreError::Weights { path: model, problem })
    }
}
