//! A recipe's whole run: folder, loop, the model that it leaves.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use add_plugin::{Network, parameter_count};
use add_train::{
    checkpoint::hex,
    folder::RunFolder,
    run::{self, Ending, Observer, Start},
};
use add_weights::Precision;
use sha2::{Digest, Sha256};

use crate::{
    assemble,
    error::CoreError,
    model_file::{self, ModelCard},
    overrides,
    read::{LoadedRecipe, show},
    recipe::{Objective, Recipe},
    sampled::Sampled,
};

/// The file of a run folder that holds its averaged model.
pub const MODEL: &str = "model.safetensors";

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
    let recipe = &loaded.recipe;
    let hash = hash(recipe);
    let go = |objective: &mut dyn run::Objective, observer: &mut dyn Observer| -> Result<Ending, CoreError> {
        let mut folder = RunFolder::open(out)?;
        folder.write("recipe.ron", &show(recipe))?;
        Ok(run::run(objective, &mut folder, recipe.run, &hash, start, observer, stop)?)
    };
    match &recipe.objective {
        Objective::Diffusion(objective) => {
            let mut run = assemble::diffusion_run(loaded, objective)?;
            let ending = go(&mut run, observer)?;
            export(recipe, out, &run.averaged(), ending)?;
            Ok(ending)
        }
        Objective::Add(objective) => {
            let mut run = assemble::add_run(loaded, objective)?;
            let ending = go(&mut run, observer)?;
            export(recipe, out, &run.averaged(), ending)?;
            Ok(ending)
        }
    }
}

/// Writes the averaged model into the run folder.
fn export(recipe: &Recipe, out: &Path, model: &Sampled, ending: Ending) -> Result<(), CoreError> {
    let step = match ending {
        Ending::Finished => recipe.run.steps,
        Ending::Stopped(step) => step,
    };
    let card = ModelCard::new(recipe, &recipe.model, &model.student_timesteps, step);
    let networks: &[(&str, &dyn Network)] = &[("denoiser", &*model.denoiser), ("text", &*model.text)];
    model_file::write(&model_path(out), networks, Precision::F16, &card)
}

/// Where the model of the run in `out` lies.
pub fn model_path(out: &Path) -> PathBuf {
    out.join(MODEL)
}

/// SHA-256 of what the recipe says, without its name and its cadence: those a resumed run may change.
pub fn hash(recipe: &Recipe) -> String {
    let text = ["name=\"\"", "run=()"].iter().fold(show(recipe), |text, set| {
        overrides::apply(&text, set).expect("a resolved recipe states every field")
    });
    hex(&Sha256::digest(text.as_bytes()))
}

/// Names of a recipe's networks with their parameter counts; no value is made for it.
///
/// # Errors
/// When the recipe cannot be assembled.
pub fn parameter_counts(loaded: &LoadedRecipe) -> Result<Vec<(&'static str, usize)>, CoreError> {
    let recipe = &loaded.recipe;
    let device = assemble::device(recipe.device)?;
    let denoiser = recipe.model.backbone.init(recipe.text.info(), recipe.seed, &device)?;
    let text = recipe.text.init(recipe.seed, &device)?;
    let mut counts =
        vec![("denoiser", parameter_count(&*denoiser)), ("text encoder", parameter_count(&*text))];
    if let Objective::Add(objective) = &recipe.objective {
        let features = objective.adversarial.features.init(&device)?;
        let channels: Vec<usize> = features.hooks().iter().map(|(_, channels)| *channels).collect();
        let heads =
            objective.adversarial.heads.init(&channels, recipe.text.info().pooled, recipe.seed, &device)?;
        counts
            .extend([("feature network", parameter_count(&*features)), ("heads", parameter_count(&*heads))]);
    }
    Ok(counts)
}
