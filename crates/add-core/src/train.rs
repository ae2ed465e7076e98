//! A recipe's whole run: folder, loop, the model that it leaves.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    sync::atomic::AtomicBool,
};

use add_plugin::Network;
use add_recipe::{Product, Recipe, one_line, show};
use add_train::{
    folder::RunFolder,
    ranks::{Alone, Collective, is_first},
    run::{self, Ending, Observer, RunSetup, StartFrom},
};
use add_weights::{Precision, save};
use sha2::{Digest, Sha256};

use crate::{
    assemble, device,
    error::CoreError,
    model_file::{self, ModelCard},
    outline::{Outlined, outline},
    read::LoadedRecipe,
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
    start: &StartFrom,
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
    start: &StartFrom,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Ending, CoreError> {
    let recipe = &loaded.recipe;
    check_trains(recipe)?;
    device::check_sum(recipe.device, &**ranks)?;
    let (mut run, data) = assemble::run(loaded, Rc::clone(ranks))?;
    let mut folder = is_first(&**ranks).then(|| RunFolder::open(out)).transpose()?;
    if let Some(folder) = &folder {
        data.compare(folder, start)?;
        folder.write("recipe.ron", &show(recipe))?;
    }
    let (continuation, agreement) = (hash(recipe), agreement(recipe));
    let setup = RunSetup {
        length: recipe.run,
        recipe: &continuation,
        agreement: &agreement,
        start,
        stop,
        ranks: &**ranks,
    };
    let mut alarms = recipe.objective.alarms();
    let ending = run::run(&mut *run, folder.as_mut(), setup, &mut alarms, observer)?;
    run.finish()?;
    run.networks().gather_averages(is_first(&**ranks));
    if is_first(&**ranks) {
        export(recipe, out, &run.product(), ending)?;
    }
    Ok(ending)
}

/// Refuses a recipe that trains nothing.
///
/// # Errors
/// When its objective is for sampling alone.
pub fn check_trains(recipe: &Recipe) -> Result<(), CoreError> {
    if recipe.objective.trains() {
        return Ok(());
    }
    Err(CoreError::Request(format!(
        "the recipe {} only samples (objective: {}()); there is nothing to train",
        recipe.name,
        recipe.objective.name()
    )))
}

/// Writes what the run has made into its folder.
fn export(recipe: &Recipe, out: &Path, product: &Product, ending: Ending) -> Result<(), CoreError> {
    let step = match ending {
        Ending::Finished => recipe.run.steps,
        Ending::Stopped(step) => step,
    };
    let card = if product.is_model() {
        ModelCard::new(recipe, &recipe.model, &product.student_timesteps, step)
    } else {
        ModelCard::of_codec(recipe, step)
    };
    if !product.adapters.is_empty() {
        save(&adapters_path(out), &product.adapters, Precision::F32, card.fields())?;
    }
    let networks: Vec<(&str, &dyn Network)> =
        product.networks.iter().map(|(prefix, network)| (*prefix, &**network)).collect();
    model_file::write(&model_path(out), &networks, Precision::F16, &card)
}

/// Where the adapters of the run in `out` lie, if it trained some.
pub fn adapters_path(out: &Path) -> PathBuf {
    out.join(ADAPTERS)
}

/// Where the model of the run in `out` lies.
pub fn model_path(out: &Path) -> PathBuf {
    out.join(MODEL)
}

/// SHA-256 of what a training step depends on: a run is continued only under the same. Name, length, pictures, evaluation,
/// device, how the parts of a batch are shared out, and
/// who keeps the optimisers' states may change in between; the number of parts may not.
pub fn hash(recipe: &Recipe) -> String {
    // Every field is named, so that a new one is not forgotten.
    let Recipe { seed, dtype, data, codec, text, model, batch, objective, .. } = recipe;
    let Recipe { name: _, device: _, replicas: _, gradient_accumulation: _, workers: _, cache: _, .. } =
        recipe;
    let Recipe { optimizer_states: _, .. } = recipe;
    let Recipe { run: _, preview: _, sampling: _, evaluation: _, .. } = recipe;
    let mut text = one_line(&(seed, data, codec, text, model, batch, objective));
    // A run in f32 and in one part has the hash that it had before these two were part of it.
    if !dtype.are_f32() || recipe.parts() != 1 {
        text.push_str(&one_line(&(dtype, recipe.parts())));
    }
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// SHA-256 of what the ranks of a run must agree on: all of [`hash`], how the batch is cut, who keeps what, and when they meet.
fn agreement(recipe: &Recipe) -> String {
    let Recipe { replicas, gradient_accumulation, optimizer_states, run, .. } = recipe;
    let how = (replicas, gradient_accumulation, optimizer_states, run);
    let text = format!("{} {}", hash(recipe), one_line(&how));
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Whether a run keeps the running average of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AverageKept {
    /// It keeps none.
    Nowhere,
    /// Every rank keeps all of it, because another network follows it.
    Everywhere,
    /// Ranks may share it.
    Shareable,
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
    /// Their running average.
    pub average: AverageKept,
    /// Whether its values are another network's, which are held once.
    pub shared: bool,
}

impl NetworkSize {
    /// Bytes in single precision: the values; for a trained network also gradients and two moments, and the average. `sharers` ranks
    /// share moments and average.
    pub fn bytes(&self, sharers: usize) -> usize {
        let (trained, average) = (usize::from(self.trained), |kept| usize::from(self.average == kept));
        let whole = usize::from(!self.shared) + trained + average(AverageKept::Everywhere);
        let shared = (2 * trained + average(AverageKept::Shareable)) * self.parameters;
        4 * (whole * self.parameters + shared.div_ceil(sharers.max(1)))
    }
}

/// The networks of a recipe's run; no value is made for it.
///
/// # Errors
/// When the recipe cannot be assembled.
pub fn network_sizes(loaded: &LoadedRecipe) -> Result<Vec<NetworkSize>, CoreError> {
    let size = |network: &Outlined| NetworkSize {
        name: network.role.0,
        parameters: network.parameters(),
        trained: network.trained,
        average: match network.average {
            None => AverageKept::Nowhere,
            Some(_) if network.is_followed => AverageKept::Everywhere,
            Some(_) => AverageKept::Shareable,
        },
        shared: network.shared,
    };
    Ok(outline(loaded)?.iter().map(size).collect())
}
