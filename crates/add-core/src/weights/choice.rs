//! A model that is named beside the recipe: a pipeline's folder, a single file of Stable Diffusion, a denoiser alone, or a
//! model file of this project.

use std::path::{Path, PathBuf};

use add_plugin::{Content, Release};
use add_recipe::Weights;
use add_weights::{
    Location, Progress, WeightsFile,
    doctor::instead,
    names::{found, ldm},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MAX_CONFIG, check_prediction};
use crate::{error::CoreError, read::LoadedRecipe};

/// What lists the networks of a diffusers pipeline.
const INDEX: &str = "model_index.json";
/// The denoiser's file in a folder of its own.
const ALONE: &str = "diffusion_pytorch_model.safetensors";
/// Prefixes of text encoders in a single file.
const TEXTS: [&str; 2] = ["cond_stage_model.", "conditioner."];

/// What a person has stated beside the model, which then stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kept {
    /// The recipe's text encoder.
    pub text: bool,
    /// The recipe's codec.
    pub codec: bool,
}

/// Takes the model from `place` instead. From a pipeline's folder or a single file come the denoiser, and whichever of text
/// encoders and codec it holds and `kept` does not keep. For a model file of this project, its path is returned.
///
/// # Errors
/// When it is missing or damaged, holds no model, or contradicts the recipe.
pub fn choose(
    loaded: &mut LoadedRecipe,
    place: &str,
    kept: Kept,
    progress: &mut dyn Progress,
) -> Result<Option<PathBuf>, CoreError> {
    // It is the person at the terminal who says it, not the recipe.
    let location = Location::parse(place)?.absolute().map_err(CoreError::io(Path::new(place)))?;
    if location.local().map_or_else(|| !location.is_file(), |path| path.is_dir()) {
        pipeline(loaded, location, kept, progress)?;
        return fits(loaded);
    }
    let path = location.fetch(progress)?;
    let file = WeightsFile::open(&path)?;
    if found::has_unet_of_ldm(&file) {
        let holds = |prefix: &&str| file.tensors().keys().any(|name| name.starts_with(*prefix));
        let parts = Parts { text: TEXTS.iter().any(holds), codec: holds(&ldm::AUTOENCODER) };
        take(loaded, &location, true, parts, kept);
        loaded.recipe.model.weights = Weights::Ldm(location);
        return fits(loaded);
    }
    let problem = match instead(&file) {
        Some(what) => what.to_owned(),
        None if found::unet_of_diffusers(&file).is_ok() => {
            loaded.recipe.model.weights = Weights::Diffusers(location);
            return fits(loaded);
        }
        None if is_own(&file) => return Ok(Some(path)),
        None => format!(
            "it holds no denoiser that is known here: expected a model file of this project, a single file of Stable \
             Diffusion, or diffusers' U-Net; `doctor {}` says what it is",
            path.display()
        ),
    };
    Err(CoreError::Weights { path, problem })
}

/// Says of a released model at once what it contradicts, before anything else that it needs is looked for.
fn fits(loaded: &LoadedRecipe) -> Result<Option<PathBuf>, CoreError> {
    check_prediction(&loaded.recipe.model).map(|()| None)
}

/// Whether a file says that it is a model file of this project, or looks like one.
fn is_own(file: &WeightsFile) -> bool {
    file.metadata().contains_key("add.format")
        || file.tensors().keys().any(|name| name.starts_with("denoiser."))
}

impl Kept {
    /// Whether nothing is kept.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Which networks besides the denoiser a release holds.
#[derive(Debug, Clone, Copy)]
struct Parts {
    text: bool,
    codec: bool,
}

/// A diffusers pipeline.
fn pipeline(
    loaded: &mut LoadedRecipe,
    location: Location,
    kept: Kept,
    progress: &mut dyn Progress,
) -> Result<(), CoreError> {
    let parts = match location.local() {
        Some(path) if !path.join("unet").is_dir() => {
            // The folder of a denoiser alone.
            let denoiser = location.join(ALONE);
            let chosen = if denoiser.cached().is_some() { denoiser } else { location };
            loaded.recipe.model.weights = Weights::Diffusers(chosen);
            return Ok(());
        }
        Some(path) => Parts { text: path.join("text_encoder").is_dir(), codec: path.join("vae").is_dir() },
        None => {
            // A repository without a list of networks holds a denoiser alone.
            let index = location.join(INDEX).fetch(progress).ok().and_then(|path| json(&path));
            let lists = |part: &str| index.as_ref().is_some_and(|index| index[part][0].is_string());
            Parts { text: lists("text_encoder"), codec: lists("vae") }
        }
    };
    take(loaded, &location, false, parts, kept);
    if parts.codec && !kept.codec {
        check_scaling(loaded, &location, progress)?;
    }
    loaded.recipe.model.weights = Weights::Diffusers(location);
    Ok(())
}

/// Lets text encoder and codec come from `location`.
fn take(loaded: &mut LoadedRecipe, location: &Location, is_file: bool, parts: Parts, kept: Kept) {
    let place = location.to_string();
    let release = Release { place: &place, is_file };
    let recipe = &mut loaded.recipe;
    if parts.text
        && !kept.text
        && let Some(text) = recipe.text.in_release(&release)
    {
        tracing::info!("text encoder from {place}");
        recipe.text = text;
    }
    if parts.codec
        && !kept.codec
        && let Some(codec) = recipe.codec.in_release(&release)
    {
        tracing::info!("codec from {place}");
        recipe.codec = codec;
    }
}

/// Refuses a pipeline whose autoencoder scales its latents otherwise than the recipe's codec: its pictures would be wrong
/// without a word.
fn check_scaling(
    loaded: &LoadedRecipe,
    location: &Location,
    progress: &mut dyn Progress,
) -> Result<(), CoreError> {
    let Ok(path) = location.join("vae/config.json").fetch(progress) else { return Ok(()) };
    let stated = json(&path).and_then(|config| config["scaling_factor"].as_f64());
    let own = loaded.recipe.codec.component().and_then(|component| match component.content {
        Content::Network { config, .. } => config.get("scaling_factor").and_then(Value::as_f64),
        Content::Files(_) => None,
    });
    match (stated, own) {
        (Some(stated), Some(own)) if (stated - own).abs() > 1e-6 * stated.abs() => {
            let problem = format!(
                "this autoencoder's scaling_factor is {stated}, the recipe's {own}; choose the recipe of this model, or say \
                 --set codec.scaling_factor={stated}"
            );
            Err(CoreError::Weights { path, problem })
        }
        _ => Ok(()),
    }
}

/// A small JSON file, if it can be read.
fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&add_files::read(path, MAX_CONFIG).ok()?).ok()
}
