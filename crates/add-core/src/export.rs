//! A model for other programs: a folder that diffusers reads, or a single file of Stable Diffusion.
//!
//! What a student is sampled with travels along: in `scheduler_config.json`, and as `add.*` in the metadata of the
//! denoiser's file, from which this project reads it back.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use add_plugin::{
    Autoencoder, Component, Content, Fields, Network, Prediction, ReleasedPipeline, SingleFile, TextNetwork,
    fields,
};
use add_recipe::{Recipe, SampledModel};
pub use add_weights::Precision;
use add_weights::{
    NamedTensor, Source, arrange,
    names::{self, ldm},
    save, write_data,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    assemble, device, error::CoreError, model_file::ModelCard, read::LoadedRecipe, weights::student_timesteps,
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
/// The version of `ModelSpec`.
const MODEL_SPEC: &str = "1.0.1";

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
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) || out.is_file() {
        let problem = format!("{} holds something already; name a new folder", out.display());
        return Err(CoreError::Request(problem));
    }
    // What is missing is said before a gigabyte is read.
    let names = Names::of(&loaded.recipe)?;
    let model = Exported::load(loaded, trained, names)?;
    let mut partial = out.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = fs::create_dir_all(&partial).map_err(CoreError::io(&partial)).and_then(|()| match format {
        Format::Diffusers => model.write_folder(&partial, precision),
        Format::Ldm => model.write_single_file(&partial, precision),
    });
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
        let (model, card) = if let Some(path) = trained {
            (assemble::sampled(loaded, path)?, ModelCard::of(path)?)
        } else {
            let model = assemble::untrained(loaded, &recipe.model, student_timesteps(loaded)?)?;
            let card = ModelCard::new(recipe, &recipe.model, &model.student_timesteps, 0);
            (model, card)
        };
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
                    let name = match *library {
                        "diffusers" => "diffusion_pytorch_model.safetensors",
                        _ => "model.safetensors",
                    };
                    let file = folder_path.join(name);
                    // Without it transformers takes the file for another framework's.
                    let mut metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
                    if *folder == self.names.denoiser.folder {
                        metadata.extend(self.card.fields().clone());
                    }
                    save(&out.join(&file), &under(network, prefix), precision, &metadata)?;
                    weights.push(file);
                }
            }
        }
        text("model_index.json".into(), &pretty(&index))?;
        text("README.md".into(), &self.readme(scheduler))?;
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

    fn readme(&self, scheduler: &str) -> String {
        let Recipe { name, sampling, .. } = self.recipe;
        let pipeline = self.names.pipeline.class;
        let steps = sampling.steps;
        let mut arguments = format!("num_inference_steps={steps}");
        let timesteps = &self.model.student_timesteps;
        if !timesteps.is_empty() {
            let descending: Vec<String> = timesteps.iter().rev().map(ToString::to_string).collect();
            arguments = format!("timesteps=[{}]", descending.join(", "));
        }
        // diffusers guides from above 1.
        let _ = write!(arguments, ", guidance_scale={}", sampling.guidance);
        format!(
            "# {name}\n\nMade by ADD-in-Rust (Adversarial Diffusion Distillation). A student is bound by the licence of the \
             model that it was distilled from.\n\n```python\nfrom diffusers import {pipeline}\n\npipeline = \
             {pipeline}.from_pretrained(\".\")\nimage = pipeline(\"a prompt\", {arguments}).images[0]\n```\n\nThe scheduler \
             is `{scheduler}`.\n"
        )
    }

    fn write_single_file(&self, out: &Path, precision: Precision) -> Result<Vec<PathBuf>, CoreError> {
        let mut tensors = BTreeMap::new();
        for (component, network) in self.networks() {
            let Content::Network { config, prefix } = &component.content else { continue };
            let (place, source) = single_file_names(component, config, self.names.pipeline.single_file)?;
            let arranged = arrange(under(network, prefix), &*source);
            tensors.extend(arranged.into_iter().map(|(name, mut tensor)| {
                // There the autoencoder's attention is made of 1x1 convolutions.
                if name.contains(".attn_1.") && tensor.shape.len() == 2 {
                    tensor.shape.extend([1, 1]);
                }
                (format!("{place}{name}"), tensor)
            }));
        }
        let mut digest = Sha256::new();
        write_data(&mut digest, &tensors, precision).map_err(CoreError::io(out))?;
        let sha256 = hex::encode(digest.finalize());
        let file = PathBuf::from(format!("{}.safetensors", self.recipe.name));
        save(&out.join(&file), &tensors, precision, &self.model_spec(&sha256))?;
        Ok(vec![file])
    }

    /// `ModelSpec`'s metadata, with this project's own behind it.
    fn model_spec(&self, sha256: &str) -> BTreeMap<String, String> {
        let Recipe { name, model, data, .. } = self.recipe;
        let prediction = match model.backbone.info().prediction {
            Prediction::V => "v",
            Prediction::Epsilon => "epsilon",
            Prediction::X0 => "x0",
            Prediction::Flow => "flow",
        };
        let architecture = match self.names.pipeline.single_file {
            SingleFile::Sd1 => "stable-diffusion-v1",
            SingleFile::Sd2 if prediction == "v" => "stable-diffusion-v2-768-v",
            SingleFile::Sd2 => "stable-diffusion-v2-512",
            SingleFile::Sdxl => "stable-diffusion-xl-v1-base",
        };
        let size = data.size();
        let spec = [
            ("sai_model_spec", MODEL_SPEC.to_owned()),
            ("architecture", architecture.to_owned()),
            ("implementation", "https://github.com/Stability-AI/generative-models".to_owned()),
            ("title", name.clone()),
            ("description", "distilled with Adversarial Diffusion Distillation, ADD-in-Rust".to_owned()),
            ("resolution", format!("{size}x{size}")),
            ("prediction_type", prediction.to_owned()),
            ("hash_sha256", format!("0x{sha256}")),
        ];
        let spec = spec.map(|(field, value)| (format!("modelspec.{field}"), value));
        self.card.fields().clone().into_iter().chain(spec).collect()
    }
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

/// From a component's names to those behind a prefix of a single file.
type SingleFileNames = (&'static str, Box<dyn Fn(&str) -> Source>);

fn single_file_names(
    component: &Component,
    config: &Fields,
    layout: SingleFile,
) -> Result<SingleFileNames, CoreError> {
    let config = Value::Object(config.clone());
    let unknown = |why: &dyn std::fmt::Display| {
        CoreError::Request(format!(
            "{}: no place in a single file of Stable Diffusion: {why}",
            component.class
        ))
    };
    let whole = |name: &str| Source::Whole(name.to_owned());
    Ok(match (component.class, component.folder, layout) {
        ("UNet2DConditionModel", ..) => {
            (ldm::UNET, Box::new(ldm::unet_of(config).map_err(|error| unknown(&error))?))
        }
        ("AutoencoderKL", ..) => {
            (ldm::AUTOENCODER, Box::new(ldm::autoencoder_kl_of(config).map_err(|error| unknown(&error))?))
        }
        (_, "text_encoder", SingleFile::Sd1) => (ldm::TEXT_SD1, Box::new(whole)),
        (_, "text_encoder", SingleFile::Sd2) => (ldm::TEXT_SD2, Box::new(names::open_clip_text)),
        (_, "text_encoder", SingleFile::Sdxl) => (ldm::TEXT_SDXL_1, Box::new(whole)),
        (_, "text_encoder_2", SingleFile::Sdxl) => (ldm::TEXT_SDXL_2, Box::new(names::open_clip_text)),
        _ => return Err(unknown(&component.folder)),
    })
}

fn pretty(fields: &Fields) -> String {
    format!("{:#}\n", Value::Object(fields.clone()))
}
