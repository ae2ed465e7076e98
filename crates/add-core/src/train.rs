//! A recipe's whole run: folder, loop, the model that it leaves.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
    sync::atomic::AtomicBool,
};

use add_files::hex;
use add_plugin::Network;
use add_train::{
    folder::RunFolder,
    ranks::{Alone, Collective, is_first},
    run::{self, Course, Ending, Observer, Start},
};
use add_weights::{Precision, save};
use sha2::{Digest, Sha256};

use crate::{
    assemble,
    data_state::DataState,
    device,
    error::CoreError,
    model_file::{self, ModelCard},
    outline::{Outlined, outline},
    read::{LoadedRecipe, one_line, show},
    recipe::{Objective, Recipe},
    sampled::Sampled,
};

/// The file of a run folder that holds its averaged model.
pub const MODEL: &str = "model.safetensors";

/// The file of a run folder that holds the averaged adapters alone, as diffusers loads them.
pub const ADAPTERS: &str = "pytorch_lora_weights.safetensors";

/// Trains `loaded` in the folder `out`.
///
/// # Errors
/// When the recipe cannot be assembled, or the data, the disk or the numbers fail.
pub fn train(
    loaded: &LoadedRecipe,
    out: &Path,
    start: &Start,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Ending, CoreError> {
    train_among(&(Rc::new(Alone) as Rc<dyn Collective>), loaded, out, start, observer, stop)
}

/// Trains `loaded` together with the other `ranks`; the first alone writes into the folder `out`.
///
/// # Errors
/// As [`train`]; also when the ranks do not agree or do not fit the recipe.
pub fn train_among(
    ranks: &Rc<dyn Collective>,
    loaded: &LoadedRecipe,
    out: &Path,
    start: &Start,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Ending, CoreError> {
    let recipe = &loaded.recipe;
    let hash = hash(recipe);
    let go = |objective: &mut dyn run::Objective,
              data: DataState,
              observer: &mut dyn Observer|
     -> Result<Ending, CoreError> {
        let mut folder = is_first(&**ranks).then(|| RunFolder::open(out)).transpose()?;
        if let Some(folder) = &folder {
            data.compare(folder, start)?;
            folder.write("recipe.ron", &show(recipe))?;
        }
        let course = Course { cadence: recipe.run, recipe: &hash, start, stop, ranks: &**ranks };
        Ok(run::run(objective, folder.as_mut(), course, observer)?)
    };
    let finish = |model: &Sampled, ending: Ending| -> Result<Ending, CoreError> {
        if is_first(&**ranks) {
            export(recipe, out, model, ending)?;
        }
        Ok(ending)
    };
    check_objective(recipe)?;
    device::check_sum(recipe.device, &**ranks)?;
    match &recipe.objective {
        Objective::Off() => unreachable!("checked above"),
        Objective::Diffusion(objective) => {
            let mut run = assemble::diffusion_run(loaded, objective, Rc::clone(ranks))?;
            let data = DataState::of(run.feed.dataset());
            let ending = go(&mut run, data, observer)?;
            finish(&run.averaged(), ending)
        }
        Objective::Add(objective) => {
            let mut run = assemble::add_run(loaded, objective, Rc::clone(ranks))?;
            let data = DataState::of(run.feed.dataset());
            let ending = go(&mut run, data, observer)?;
            let adapters = run.averaged_adapters();
            if is_first(&**ranks) && !adapters.is_empty() {
                save(&out.join(ADAPTERS), &adapters, Precision::F32, &BTreeMap::new())?;
            }
            finish(&run.averaged(), ending)
        }
    }
}

/// Refuses a recipe that is for sampling alone.
///
/// # Errors
/// When its objective is `Off()`.
pub fn check_objective(recipe: &Recipe) -> Result<(), CoreError> {
    match recipe.objective {
        Objective::Off() => Err(CoreError::Request(format!(
            "objective: Off(): the recipe {} is for sampling; there is nothing to train",
            recipe.name
        ))),
        Objective::Diffusion(_) | Objective::Add(_) => Ok(()),
    }
}

/// Writes the averaged model into the run folder.
fn export(recipe: &Recipe, out: &Path, model: &Sampled, ending: Ending) -> Result<(), CoreError> {
    let step = match ending {
        Ending::Finished => recipe.run.steps,
        Ending::Stopped(step) => step,
    };
    let card = ModelCard::new(recipe, &recipe.model, &model.student_timesteps, step);
    let mut networks: Vec<(&str, &dyn Network)> = vec![("denoiser", &*model.denoiser)];
    if recipe.text.weights().is_empty() {
        networks.push(("text", &*model.text));
    }
    model_file::write(&model_path(out), &networks, Precision::F16, &card)
}

/// Where the model of the run in `out` lies.
pub fn model_path(out: &Path) -> PathBuf {
    out.join(MODEL)
}

/// SHA-256 of what a training step depends on. Name, cadence, pictures and evaluation may change between a run and
/// its continuation.
pub fn hash(recipe: &Recipe) -> String {
    let Recipe { seed, data, codec, text, model, batch, objective, .. } = recipe;
    let text = one_line(&(seed, data, codec, text, model, batch, objective));
    hex(&Sha256::digest(text.as_bytes()))
}

/// One network of a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkSize {
    /// What it is in the run.
    pub name: &'static str,
    /// Values in its parameters and buffers.
    pub parameters: usize,
    /// Whether the run changes them.
    pub trained: bool,
    /// Whether the run keeps their running average too.
    pub averaged: bool,
    /// Whether its values are another network's, which are held once.
    pub shared: bool,
}

impl NetworkSize {
    /// Bytes in single precision: the values; for a trained network also gradients and two moments, and the average.
    pub fn bytes(&self) -> usize {
        let copies =
            usize::from(!self.shared) + if self.trained { 3 } else { 0 } + usize::from(self.averaged);
        4 * copies * self.parameters
    }
}

/// The networks of a recipe's run; no value is made for it.
///
/// # Errors
/// When the recipe cannot be assembled.
pub fn network_sizes(loaded: &LoadedRecipe) -> Result<Vec<NetworkSize>, CoreError> {
    let size = |network: &Outlined| NetworkSize {
        name: network.role.name(),
        parameters: network.parameters(),
        trained: network.trained,
        averaged: network.averaged,
        shared: network.shared,
    };
    Ok(outline(loaded)?.networks.iter().map(size).collect())
}
