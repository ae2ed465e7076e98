//! `add serve`: models that are loaded once and answer requests for pictures.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use add_core::{
    assemble,
    error::CoreError,
    read::{self, LoadedRecipe},
    recipe::{EvaluatedModel, one_line},
    release,
    train::model_path,
};
use add_serve::{Offered, Settings};
use add_weights::Location;
use clap::Args;

use super::{
    access::{AccessArgs, say_bound, stop},
    kept, sampled_model,
};
use crate::{Outcome, progress::Download, signals::Signals};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// What to serve: recipes, folders of runs, or models of Stable Diffusion as folders of diffusers, single files or
    /// hf://owner/repo.
    #[arg(required = true, value_name = "RECIPE|MODEL")]
    models: Vec<String>,
    #[command(flatten)]
    access: AccessArgs,
    /// Where to compute, such as Cuda(0) [default: as each recipe says].
    #[arg(long)]
    device: Option<String>,
    /// The model of the one recipe: a file of this project, a diffusers folder, a single file, or hf://owner/repo.
    #[arg(long, value_name = "PLACE")]
    weights: Option<String>,
    /// The folder of the runs that the page shows while they are trained.
    #[arg(long, value_name = "FOLDER", default_value = "runs")]
    runs: PathBuf,
    /// Leave out the teachers of recipes that distil, which take memory of their own.
    #[arg(long)]
    without_teacher: bool,
    /// Override a field of every recipe, such as --set sampling.steps=2; may be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
}

impl Serve {
    pub(crate) fn run(&self) -> Outcome {
        if self.weights.is_some() && self.models.len() > 1 {
            let problem = format!("expected one recipe beside it, got {}", self.models.len());
            return Err(CoreError::Argument { name: "weights", problem });
        }
        let settings = Settings { access: self.access.checked()?, runs: self.runs.clone() };
        let mut offered = Vec::new();
        for name in &self.models {
            offered.extend(self.offered(name)?);
        }
        add_serve::check_models(&offered).map_err(CoreError::Request)?;
        let signals = Signals::listen()?;
        add_serve::run(offered, &settings, say_bound, stop(&signals))
            .map_err(CoreError::io(settings.access.address.to_string()))?;
        Ok(signals.exit_code())
    }

    /// The models that a word of the command line names.
    fn offered(&self, name: &str) -> Result<Vec<Offered>, CoreError> {
        let (mut loaded, file) = self.recipe(name)?;
        let place = self.weights.clone().or_else(|| file.map(|file| file.display().to_string()));
        let (model, _) = sampled_model(&mut loaded, place.as_deref(), kept(&self.set))?;
        let loaded = Arc::new(loaded);
        let mut offered = vec![Offered::main(Arc::clone(&loaded), model)?];
        if !self.without_teacher && has_teacher(&loaded) {
            match assemble::named(&loaded, EvaluatedModel::Teacher) {
                Ok(Some(teacher)) => offered.push(Offered::teacher(loaded, teacher)?),
                Ok(None) => {}
                Err(error) => tracing::warn!("{name}: its teacher is not offered: {error}"),
            }
        }
        Ok(offered)
    }

    /// The recipe that a word of the command line stands for, and the model of a run.
    fn recipe(&self, name: &str) -> Result<(LoadedRecipe, Option<PathBuf>), CoreError> {
        let mut set = self.set.clone();
        set.extend(self.device.as_ref().map(|device| format!("device={device}")));
        let path = Path::new(name);
        let of_run = path.join("recipe.ron");
        if of_run.is_file() {
            let model = model_path(path);
            if !model.exists() {
                let problem = "the run has left no model yet; finish it, or stop it with Ctrl-C".to_owned();
                return Err(CoreError::Weights { path: model, problem });
            }
            return Ok((read::read(&of_run, &set)?, Some(model)));
        }
        let place = Location::parse(name);
        let absolute = |path: &Path| std::path::absolute(path).map_err(CoreError::io(path));
        let loaded = match place {
            Ok(hub @ Location::Hub(_)) => release::of_pipeline(&hub, &mut Download::new())?,
            _ if path.is_dir() => {
                release::of_pipeline(&Location::Local(absolute(path)?), &mut Download::new())?
            }
            _ if path.extension().is_some_and(|end| end == "safetensors") => {
                release::of_single_file(&absolute(path)?)?
            }
            _ => return Ok((read::read(path, &set)?, None)),
        };
        Ok((loaded.with(&set)?, None))
    }
}

/// Whether a recipe's method has a teacher that makes pictures as the recipe's own model does.
fn has_teacher(loaded: &LoadedRecipe) -> bool {
    let recipe = &loaded.recipe;
    let models = recipe.objective.models(recipe);
    let Some(teacher) = models.iter().find(|model| model.name == EvaluatedModel::Teacher) else {
        return false;
    };
    // Another pipeline's teacher is served by a recipe of its own.
    one_line(&(teacher.text, teacher.codec)) == one_line(&(&recipe.text, &recipe.codec))
}
