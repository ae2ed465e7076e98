//! Where a model's values come from, and every file of weights that a recipe needs before it can run.

mod choice;
mod prediction;

use std::path::{Path, PathBuf};

use add_plugin::Naming;
use add_recipe::{Model, Source, Weights, slot::sampling_slots};
pub use add_weights::Progress;
use add_weights::{
    Location, WeightsError, beside,
    doctor::{self, Diagnosis},
    lora::Lora,
};

pub use self::choice::{Kept, choose};
pub(crate) use self::prediction::{check_prediction, ends_at_zero};

use crate::{error::CoreError, model_file::ModelCard, read::LoadedRecipe};

/// The denoiser's file in a diffusers pipeline.
const UNET: &str = "unet/diffusion_pytorch_model.safetensors";
/// What a diffusers pipeline says about its model.
const SCHEDULER: &str = "scheduler/scheduler_config.json";
/// Largest JSON file of a pipeline, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// A file of weights that a recipe reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// What it is for.
    pub part: &'static str,
    /// Where it is.
    pub location: Location,
}

impl Needed {
    /// Whether it is on this machine.
    pub fn is_here(&self) -> bool {
        self.location.cached().is_some()
    }
}

/// What a recipe is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Every network.
    Training,
    /// The model as the recipe states it.
    Sampling,
    /// A model file that holds the denoiser.
    SamplingTrained,
}

/// The released files that a recipe reads, each once, in the order of reading.
///
/// # Errors
/// When a plugin names a place that is none.
pub fn needed(loaded: &LoadedRecipe, wanted_for: Use) -> Result<Vec<Needed>, CoreError> {
    let recipe = &loaded.recipe;
    let slots = match wanted_for {
        Use::Training => recipe.objective.networks(recipe),
        Use::Sampling | Use::SamplingTrained => sampling_slots(recipe),
    };
    let mut all: Vec<Needed> = Vec::new();
    if wanted_for != Use::Training {
        let loras = files(&recipe.sampling.loras);
        all.extend(loras.map(|location| Needed { part: "LoRA", location }));
    }
    for slot in slots {
        let places = match &slot.source {
            Source::Model { .. } if wanted_for == Use::SamplingTrained => Vec::new(),
            Source::Model { model, .. } => {
                let own = released(model).into_iter().map(|(_, location)| location);
                own.chain(files(&model.loras)).collect()
            }
            Source::Text { encoder, model } => {
                places(loaded, &encoder.weights())?.into_iter().chain(files(&model.loras)).collect()
            }
            Source::Codec(codec) => places(loaded, &codec.weights())?,
            Source::Features(features) => places(loaded, &features.weights())?,
            Source::BeginningOf(_) | Source::Heads { .. } => Vec::new(),
        };
        for location in places {
            if !all.iter().any(|old| old.location == location) {
                all.push(Needed { part: slot.role.0, location });
            }
        }
    }
    Ok(all)
}

/// The files of LoRAs.
fn files(loras: &[Lora]) -> impl Iterator<Item = Location> {
    loras.iter().map(Lora::file)
}

/// The places that a plugin names.
fn places(loaded: &LoadedRecipe, names: &[String]) -> Result<Vec<Location>, CoreError> {
    beside(loaded.folder(), || names.iter().map(|name| Ok(Location::parse(name)?)).collect())
}

/// Brings every released file of a recipe to this machine.
///
/// # Errors
/// Names the first that is not to be had, and how to provide it.
pub fn fetch(loaded: &LoadedRecipe, wanted_for: Use, progress: &mut dyn Progress) -> Result<(), CoreError> {
    for needed in needed(loaded, wanted_for)? {
        needed.location.fetch(progress)?;
    }
    for pipeline in pipelines(loaded).iter().filter(|_| wanted_for != Use::SamplingTrained) {
        // It only serves a check; a pipeline without one is used all the same.
        let _ = pipeline.join(SCHEDULER).fetch(progress);
    }
    Ok(())
}

/// What the file or folder at `place` is.
///
/// # Errors
/// When it is not on this machine, or cannot be read.
pub fn diagnose(place: &str) -> Result<Diagnosis, WeightsError> {
    let location = Location::parse(place)?;
    match location.local() {
        Some(path) => doctor::diagnose(&path),
        None if location.is_file() => doctor::diagnose(&location.fetch(&mut ())?),
        None => Err(WeightsError::Location {
            text: location.to_string(),
            reason: "expected a file of the repository, such as .../model.safetensors".to_owned(),
        }),
    }
}

/// The diffusers pipelines that a recipe's models come from.
fn pipelines(loaded: &LoadedRecipe) -> Vec<Location> {
    let slots = loaded.recipe.objective.networks(&loaded.recipe).into_iter();
    let models = slots.filter_map(|slot| match slot.source {
        Source::Model { model, .. } => Some(model),
        _ => None,
    });
    models.filter_map(pipeline).collect()
}

/// The pipeline's folder, where the recipe names that and not a file.
fn pipeline(model: &Model) -> Option<Location> {
    match &model.weights {
        Weights::Diffusers(location) => Some(location.clone()).filter(|place| !place.is_file()),
        _ => None,
    }
}

/// The file of a model's denoiser, where it is a released one.
pub(crate) fn released(model: &Model) -> Option<(Naming, Location)> {
    match &model.weights {
        Weights::Random() | Weights::File(_) => None,
        Weights::Diffusers(location) => Some((Naming::Diffusers, location.named(UNET))),
        Weights::Ldm(location) => Some((Naming::Ldm, location.clone())),
    }
}

/// The student timesteps that the file of the recipe's denoiser states, where this project wrote it; else none.
///
/// # Errors
/// When the file is missing or damaged.
pub fn student_timesteps(loaded: &LoadedRecipe) -> Result<Vec<usize>, CoreError> {
    let Some((_, location)) = released(&loaded.recipe.model) else { return Ok(Vec::new()) };
    Ok(ModelCard::of(&location.fetch(&mut ())?)?.student_timesteps())
}

impl LoadedRecipe {
    /// A file or folder that the recipe names: beside the recipe, or else from the current folder.
    pub(crate) fn beside(&self, name: &Path) -> PathBuf {
        let beside = self.path.parent().unwrap_or_else(|| Path::new("")).join(name);
        if beside.exists() || !name.exists() { beside } else { name.to_path_buf() }
    }
}
