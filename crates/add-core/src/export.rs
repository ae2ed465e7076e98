//! A model for other programs: a folder that diffusers reads, or a single file of Stable Diffusion.
//!
//! What a student is sampled with travels along: in `scheduler_config.json`, and as `add.*` in the metadata of the
//! denoiser's file, from which this project reads it back.

mod card;
mod lora;
mod single_file;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use add_plugin::{
    Autoencoder, Component, Content, Fields, Network, Prediction, ReleasedPipeline, TextNetwork, fields,
};
use add_recipe::{Recipe, SampledModel};
pub use add_weights::Precision;
use add_weights::{MAX_SHARD_BYTES, NamedTensor, save_shards};
use serde_json::{Value, json};

pub use self::lora::{LoraNames, lora};

use crate::{
    assemble, device, error::CoreError, lora::onto_sampled, model_file::ModelCard, read::LoadedRecipe,
    weights::student_timesteps,
};

/// Whose layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A folder with a folder for each network.
    Diffusers,
    /// One file for all networks, under the names of Stable Diffusion's own training code.
    Ldm,
}

/// The version of diffusers whose configurations these are.
const DIFFUSERS: &str = "0.36.0";

/// Writes a model to `out` and returns the files.
///
/// The denoiser is that of the model file at `trained`, or else the one that the recipe names; text encoder and codec are
/// the recipe's. Nothing is left at `out` unless all of it could be written.
///
/// # Errors
/// When weights cannot be had, a network has no counterpart there, `out` holds something already, or the disk refuses.
pub fn export(
    loaded: &LoadedRecipe,
    trained: Option<&Path>,
    format: Format,
    precision: Precision,
    out: &Path,
) -> Result<Vec<PathBuf>, CoreError> {
    check(loaded, format, out)?;
    let names = Names::of(&loaded.recipe)?;
    let model = Exported::load(loaded, trained, names)?;
    whole(out, |partial| match format {
        Format::Diffusers => model.write_folder(partial, precision),
        Format::Ldm => model.write_single_file(partial, precision),
    })
}

/// Refuses what [`export`] would refuse for the recipe or the folder alone, before weights are fetched and read.
///
/// # Errors
/// When a network has no counterpart there, no client could sample the model, or `out` holds something already.
pub fn check(loaded: &LoadedRecipe, format: Format, out: &Path) -> Result<(), CoreError> {
    check_free(out)?;
    Names::of(&loaded.recipe)?;
    match format {
        Format::Diffusers => Ok(()),
        Format::Ldm => single_file::check(&loaded.recipe),
    }
}

/// Refuses a folder that holds something, or that cannot be made.
fn check_free(out: &Path) -> Result<(), CoreError> {
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) || out.is_file() {
        let problem = format!("{} holds something already; name a new folder", out.display());
        return Err(CoreError::Request(problem));
    }
    add_files::check_writable(out).map_err(CoreError::io(out))
}

/// Lets `write` fill a folder beside `out`, which takes its place once it is whole; the files are returned.
fn whole(
    out: &Path,
    write: impl FnOnce(&Path) -> Result<Vec<PathBuf>, CoreError>,
) -> Result<Vec<PathBuf>, CoreError> {
    let mut partial = out.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written =
        fs::create_dir_all(&partial).map_err(CoreError::io(&partial)).and_then(|()| write(&partial));
    let moved = written.and_then(|files| {
        // An empty folder may be there, which a rename would not replace everywhere.
        let _ = fs::remove_dir(out);
        add_files::rename(&partial, out).map_err(CoreError::io(out)).map(|()| files)
    });
    match moved {
        Ok(files) => Ok(files.iter().map(|file| out.join(file)).collect()),
        Err(error) => {
            // The reason matters more than whether its traces could be removed.
            let _ = fs::remove_dir_all(&partial);
            Err(error)
        }
    }
}

/// What diffusers calls the parts of a recipe's model.
struct Names {
    denoiser: Component,
    codec: Component,
    pipeline: ReleasedPipeline,
}

impl Names {
    fn of(recipe: &Recipe) -> Result<Self, CoreError> {
        let none = |part: &str, name: &str| {
            CoreError::Request(format!(
                "{part}: {name} is this project's own and has no counterpart in diffusers; its model.safetensors is all that `sample` needs"
            ))
        };
        let backbone = &recipe.model.backbone;
        Ok(Self {
            denoiser: backbone.component().ok_or_else(|| none("model.backbone", backbone.name()))?,
            pipeline: recipe.text.pipeline().ok_or_else(|| none("text", recipe.text.name()))?,
            codec: recipe.codec.component().ok_or_else(|| none("codec", recipe.codec.name()))?,
        })
    }
}

/// A model with all that an export needs.
struct Exported<'a> {
    recipe: &'a Recipe,
    names: Names,
    model: SampledModel,
    codec: Box<dyn Autoencoder>,
    card: ModelCard,
}

impl<'a> Exported<'a> {
    fn load(loaded: &'a LoadedRecipe, trained: Option<&Path>, names: Names) -> Result<Self, CoreError> {
        let recipe = &loaded.recipe;
        let (mut model, card) = if let Some(path) = trained {
            (assemble::sampled(loaded, path)?, ModelCard::of(path)?)
        } else {
            let model = assemble::untrained(loaded, &recipe.model, student_timesteps(loaded)?)?;
            let card = ModelCard::new(recipe, &recipe.model, &model.student_timesteps, 0);
            (model, card)
        };
        onto_sampled(loaded, &mut model)?;
        Ok(Self { recipe, names, model, codec: recipe.codec.init(&device::of(recipe)?)?, card })
    }

    /// The components with the networks that fill them.
    fn networks(&self) -> Vec<(&Component, &dyn Network)> {
        let text: &dyn TextNetwork = &*self.model.text;
        let mut all: Vec<(&Component, &dyn Network)> =
            vec![(&self.names.denoiser, &*self.model.denoiser), (&self.names.codec, &*self.codec)];
        all.extend(self.names.pipeline.components.iter().map(|component| (component, text as &dyn Network)));
        all
    }

    fn write_folder(&self, out: &Path, precision: Precision) -> Result<Vec<PathBuf>, CoreError> {
        let mut files = Vec::new();
        let mut text = |file: PathBuf, text: &str| -> Result<(), CoreError> {
            let path = out.join(&file);
            add_files::replace(&path, |file| file.write_all(text.as_bytes()))
                .map_err(CoreError::io(&path))?;
            files.push(file);
            Ok(())
        };
        let mut index = fields(json!({
            "_class_name": self.names.pipeline.class,
            "_diffusers_version": DIFFUSERS,
        }));
        index.extend(self.names.pipeline.index.clone());
        let (scheduler, config) = scheduler(self.recipe, &self.model.student_timesteps)?;
        index.insert("scheduler".to_owned(), json!(["diffusers", scheduler]));
        for folder in self.networks().iter().map(|(component, _)| component.folder).chain(["scheduler"]) {
            let folder = out.join(folder);
            fs::create_dir_all(&folder).map_err(CoreError::io(&folder))?;
        }
        text("scheduler/scheduler_config.json".into(), &pretty(&config))?;
        let mut weights = Vec::new();
        for (component, network) in self.networks() {
            let Component { folder, library, class, content } = component;
            let folder_path = Path::new(folder);
            index.insert((*folder).to_owned(), json!([library, class]));
            match content {
                Content::Files(contents) => {
                    for (name, content) in contents {
                        text(folder_path.join(name), content)?;
                    }
                }
                Content::Network { config, prefix } => {
                    text(folder_path.join("config.json"), &pretty(&self.config(component, config)))?;
                    let stem = match *library {
                        "diffusers" => "diffusion_pytorch_model",
                        _ => "model",
                    };
                    // Without it transformers takes the file for another framework's.
                    let mut metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
                    if *folder == self.names.denoiser.folder {
                        metadata.extend(self.card.fields().clone());
                    }
                    let tensors = under(network, prefix);
                    let names = save_shards(
                        &out.join(folder),
                        stem,
                        &tensors,
                        precision,
                        &metadata,
                        MAX_SHARD_BYTES,
                    )?;
                    weights.extend(names.into_iter().map(|name| folder_path.join(name)));
                }
            }
        }
        text("model_index.json".into(), &pretty(&index))?;
        text("README.md".into(), &self.readme(scheduler, &config))?;
        files.extend(weights);
        Ok(files)
    }

    /// A network's `config.json` for the size of pictures that the recipe makes.
    fn config(&self, component: &Component, config: &Fields) -> Fields {
        let mut config = config.clone();
        if component.library == "diffusers" {
            let reduction = self.recipe.codec.info().reduction;
            let pixels = self.recipe.data.size();
            let side =
                if component.folder == self.names.denoiser.folder { pixels / reduction } else { pixels };
            config.insert("sample_size".to_owned(), side.into());
            config.insert("_class_name".to_owned(), component.class.into());
            config.insert("_diffusers_version".to_owned(), DIFFUSERS.into());
        } else {
            config.insert("architectures".to_owned(), json!([component.class]));
        }
        config
    }
}

/// A text file of `out`.
fn write_text(out: &Path, name: &str, text: &str) -> Result<PathBuf, CoreError> {
    let path = out.join(name);
    add_files::replace(&path, |file| file.write_all(text.as_bytes())).map_err(CoreError::io(&path))?;
    Ok(name.into())
}

/// diffusers' class and `scheduler_config.json` of what the recipe samples with.
///
/// # Errors
/// When diffusers has no such sampler.
pub fn scheduler(recipe: &Recipe, student_timesteps: &[usize]) -> Result<(&'static str, Fields), CoreError> {
    let Recipe { model, sampling, .. } = recipe;
    let tables = model.schedule.tables();
    let prediction = model.backbone.info().prediction;
    let name = sampling.sampler.name();
    let scheduler = match (tables.is_variance_preserving(), prediction) {
        (true, Prediction::Epsilon | Prediction::V | Prediction::X0) => {
            sampling.sampler.scheduler(tables.steps(), student_timesteps).ok_or_else(|| {
                format!(
                    "{name} has no counterpart in diffusers; choose another with --set sampling.sampler=..."
                )
            })
        }
        (false, Prediction::Flow) => sampling.sampler.flow_scheduler().ok_or_else(|| {
            format!(
                "{name} has no counterpart in diffusers for rectified flow; choose \
                 --set 'sampling.sampler=Euler(spacing: Linspace)'"
            )
        }),
        _ => Err(format!(
            "diffusers has no scheduler for a model that predicts {prediction:?} on the schedule {}: Flow belongs to \
             RectifiedFlow, the others to variance preserving schedules",
            model.schedule.name()
        )),
    };
    let scheduler =
        scheduler.map_err(|problem| CoreError::Request(format!("sampling.sampler: {problem}")))?;
    let mut config = model.schedule.scheduler_fields();
    config.extend(scheduler.config);
    let prediction = match prediction {
        Prediction::Epsilon => "epsilon",
        Prediction::V => "v_prediction",
        Prediction::X0 => "sample",
        Prediction::Flow => "flow_prediction",
    };
    config.extend(fields(json!({
        "_class_name": scheduler.class,
        "_diffusers_version": DIFFUSERS,
        "prediction_type": prediction,
    })));
    if !student_timesteps.is_empty() {
        // No scheduler reads it; whoever opens the file does.
        config.insert("add_student_timesteps".to_owned(), json!(student_timesteps));
    }
    Ok((scheduler.class, config))
}

/// The tensors of a network that belong to the component whose names begin with `prefix`, by the library's names.
fn under(network: &dyn Network, prefix: &str) -> BTreeMap<String, NamedTensor> {
    let mut all = BTreeMap::new();
    network.for_each_parameter(&mut |path, shape, values| {
        if let Some(name) = path.strip_prefix(prefix) {
            all.insert(name.to_owned(), NamedTensor { shape: shape.to_vec(), values });
        }
    });
    all
}

fn pretty(fields: &Fields) -> String {
    format!("{:#}\n", Value::Object(fields.clone()))
}
