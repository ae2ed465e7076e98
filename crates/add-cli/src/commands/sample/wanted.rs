//! What is asked for: what the command line says, then what the picture of `--from` says, then the recipe.

use std::path::{Path, PathBuf};

use add_core::{
    error::CoreError,
    lora,
    made_with::{FileUsed, MadeWith, recipe_file, recipe_of},
    read::{self, LoadedRecipe},
    recipe::{Dimensions, guidance_scale},
    request::check_strength,
    weights::Kept,
};

use super::{super::kept, Sample};
use crate::progress::Download;

/// How much of a picture is changed unless told otherwise.
const STRENGTH: f64 = 0.8;

/// What is asked for.
pub(super) struct Wanted {
    pub(super) loaded: LoadedRecipe,
    /// How the pictures are made; the model is not in it yet.
    pub(super) made: MadeWith,
    pub(super) init: Option<PathBuf>,
    pub(super) mask: Option<PathBuf>,
    pub(super) latents: Option<PathBuf>,
    /// The model, where it is not the one of the recipe or of its run.
    pub(super) weights: Option<String>,
}

impl Sample {
    pub(super) fn wanted(&self) -> Result<Wanted, CoreError> {
        let from = self.from.as_deref().map(MadeWith::of).transpose()?;
        let from = from.as_ref();
        let mut loaded = match (&self.recipe, from) {
            (Some(path), _) => read::read(path, &self.set)?,
            (None, Some(from)) => from.recipe(&self.set)?,
            (None, None) => {
                return Err(CoreError::Request("expected a recipe, or --from PICTURE".to_owned()));
            }
        };
        if let Some(long) = self.long_prompt {
            loaded.recipe.sampling.long_prompt = long.into();
        }
        if !self.lora.is_empty() {
            // Those of a picture are in its recipe; stated ones take their place.
            if from.is_some() {
                loaded.recipe.sampling.loras.clear();
            }
            lora::choose(&mut loaded, &self.lora, &mut Download::new())?;
        }
        let beside = [self.from.as_deref().and_then(Path::parent).unwrap_or(Path::new("")), loaded.folder()];
        let file = |stated: &Option<PathBuf>, recorded: Option<&FileUsed>, option| match (stated, recorded) {
            (Some(path), _) => Ok(Some(path.clone())),
            (None, Some(used)) => used.find(&beside, option).map(|path| Some(PathBuf::from(path))),
            (None, None) => Ok(None),
        };
        let init = file(&self.init, from.and_then(|from| from.init.as_ref()), "init")?;
        let mask = file(&self.mask, from.and_then(|from| from.mask.as_ref()), "mask")?;
        let latents = file(&self.latents, from.and_then(|from| from.latents.as_ref()), "latents")?;
        // Another recipe than the picture's has a model of its own.
        let recorded = from.filter(|_| self.recipe.is_none() && self.weights.is_none());
        let stated = kept(&self.set);
        let kept = recorded.map_or(stated, |from| Kept {
            text: stated.text || from.kept.text,
            codec: stated.codec || from.kept.codec,
        });
        let recorded = recorded.and_then(|from| from.weights.as_ref());
        let weights = match (&self.weights, recorded) {
            (Some(place), _) => Some(place.clone()),
            (None, Some(used)) => Some(used.find(&beside, "weights")?),
            (None, None) => None,
        };
        for (name, stated) in [("strength", self.strength.is_some()), ("mask", mask.is_some())] {
            if stated && init.is_none() {
                let problem = "it needs a picture to start from: --init FILE".to_owned();
                return Err(CoreError::Argument { name, problem });
            }
        }
        let sampling = &loaded.recipe.sampling;
        let recorded = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| FileUsed::of(&path.to_string_lossy())).transpose()
        };
        let strength = self.strength.or(from.and_then(|from| from.strength)).unwrap_or(STRENGTH);
        let steps = self.steps.or(from.map(|from| from.steps)).unwrap_or(sampling.steps);
        if init.is_some() {
            check_strength(strength, steps)?;
        }
        let own_weights = weights.is_none() && !loaded.recipe.objective.trains();
        let made = MadeWith {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            prompts: match from {
                Some(from) if self.prompt.is_empty() => from.prompts.clone(),
                _ => self.prompt.clone(),
            },
            negative: self.negative.clone().or(from.map(|from| from.negative.clone())).unwrap_or_default(),
            count: self.count.or(from.map(|from| from.count)).unwrap_or(1),
            index: self.index.or(from.map(|from| from.index)).unwrap_or(0),
            seed: self.seed.or(from.map(|from| from.seed)).unwrap_or(0),
            steps,
            guidance: guidance_scale(
                self.guidance.or(from.map(|from| from.guidance)).unwrap_or(sampling.guidance),
            ),
            size: self
                .size
                .or(from.map(|from| from.size))
                .unwrap_or(Dimensions::square(loaded.recipe.data.size())),
            init: recorded(&init)?,
            strength: init.as_ref().map(|_| strength),
            mask: recorded(&mask)?,
            latents: recorded(&latents)?,
            weights: None,
            kept,
            recipe_file: recipe_file(&loaded),
            recipe: recipe_of(&loaded, own_weights),
        };
        Ok(Wanted { loaded, made, init, mask, latents, weights })
    }
}
