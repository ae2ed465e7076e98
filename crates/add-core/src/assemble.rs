//! From a recipe to what it stands for: networks with their values, an objective, a model to sample.

use std::{collections::BTreeMap, path::Path, rc::Rc, sync::Arc};

use add_data::{Feed, Loader};
use add_plugin::{
    Autoencoder, Backbone, Codec, Denoiser, Discriminator, FeatureExtractor, FeatureNetwork, Network, Plugin,
    PluginError, Split, TextNetwork,
};
use add_train::{
    add_step::{AddMethod, AddNetworks, AddOptions, AddTrainer, ImageCondition},
    diffusion_step::DiffusionTrainer,
    distance::Space,
    ema::Ema,
    health::HeadsHealth,
    model::Diffusion,
    optimizer::AdamW,
    ranks::Collective,
    shards::Shards,
    state::State,
};
use burn::tensor::Device;

use crate::{
    adapters,
    device::device,
    dtype,
    encodings::Encodings,
    error::CoreError,
    model_file,
    objective_add::AddRun,
    objective_diffusion::DiffusionRun,
    read::LoadedRecipe,
    recipe::{
        Adapter, AddObjective, DiffusionObjective, DistillationSpace, ImageEncoder, Model, Recipe,
        TeacherModel, Weights,
    },
    sampled::Sampled,
    weights::{check_prediction, released},
};

/// Schedule and prediction type of a recipe's model.
pub(crate) fn diffusion(model: &Model) -> Diffusion {
    Diffusion { schedule: model.schedule.tables(), prediction: model.backbone.info().prediction }
}

/// A denoiser with its text encoder.
pub(crate) type Networks = (Box<dyn Denoiser>, Box<dyn TextNetwork>);

/// A model with its text encoder on `device`, filled as the recipe says.
pub(crate) fn model(loaded: &LoadedRecipe, model: &Model, device: &Device) -> Result<Networks, CoreError> {
    let recipe = &loaded.recipe;
    let backbone: &Plugin<dyn Backbone> = &model.backbone;
    // The denoiser first: it is the largest, and its file the first that may be missing.
    let mut denoiser = match released(loaded, model) {
        None => backbone.init(recipe.text.info(), recipe.seed, device)?,
        Some((naming, location)) => {
            check_prediction(loaded, model)?;
            backbone.load(recipe.text.info(), naming, &location.fetch(&mut ())?, device)?
        }
    };
    let mut text = recipe.text.init(recipe.seed, device)?;
    if let Weights::File(name) = &model.weights {
        let networks = &mut stored(recipe, &mut *denoiser, &mut *text);
        model_file::read(&loaded.resolve(name), recipe, model, networks)?;
    }
    Ok((denoiser, text))
}

/// A model with its text encoder on `device`, with drawn values; no file is read.
pub(crate) fn drawn_model(recipe: &Recipe, of: &Model, device: &Device) -> Result<Networks, CoreError> {
    Ok((of.backbone.init(recipe.text.info(), recipe.seed, device)?, recipe.text.outline(device)?))
}

/// The networks that a model file holds, by prefix.
fn stored<'a>(
    recipe: &Recipe,
    denoiser: &'a mut dyn Denoiser,
    text: &'a mut dyn TextNetwork,
) -> Vec<(&'static str, &'a mut dyn Network)> {
    let mut networks: Vec<(&str, &mut dyn Network)> = vec![("denoiser", denoiser)];
    if recipe.text.weights().is_empty() {
        networks.push(("text", text));
    }
    networks
}

/// The model in the file at `path`, to be sampled.
///
/// # Errors
/// When the file is missing, damaged, or holds another model than the recipe's.
pub fn sampled(loaded: &LoadedRecipe, path: &Path) -> Result<Sampled, CoreError> {
    let recipe = &loaded.recipe;
    let device = device(recipe.device)?;
    let mut denoiser = recipe.model.backbone.init(recipe.text.info(), recipe.seed, &device)?;
    let mut text = recipe.text.init(recipe.seed, &device)?;
    let networks = &mut stored(recipe, &mut *denoiser, &mut *text);
    let card = model_file::read(path, recipe, &recipe.model, networks)?;
    Ok(Sampled {
        denoiser,
        text,
        diffusion: diffusion(&recipe.model),
        student_timesteps: card.student_timesteps(),
    })
}

/// A model with the weights that the recipe states for it, to be sampled; `student_timesteps` is empty for a model
/// that knows all.
///
/// # Errors
/// When its weights cannot be had.
pub fn untrained(
    loaded: &LoadedRecipe,
    of: &Model,
    student_timesteps: Vec<usize>,
) -> Result<Sampled, CoreError> {
    let (denoiser, text) = model(loaded, of, &device(loaded.recipe.device)?)?;
    Ok(Sampled { denoiser, text, diffusion: diffusion(of), student_timesteps })
}

/// The recipe's codec on `device`.
///
/// # Errors
/// When its weights cannot be had.
pub fn codec(recipe: &Recipe, device: &Device) -> Result<Box<dyn Autoencoder>, CoreError> {
    Ok(dtype::frozen_codec(recipe.codec.init(device)?, recipe.dtype.codec))
}

/// Loads this rank's parts of each batch.
fn feed(loader: Loader, recipe: &Recipe, shards: &Shards) -> Feed {
    Feed::new(loader.part(shards.ranges(recipe.batch).into_iter().flatten()), recipe.workers)
}

/// The recipe's batches.
fn loader(loaded: &LoadedRecipe) -> Result<Loader, CoreError> {
    let recipe = &loaded.recipe;
    let dataset = Arc::from(loaded.data(Split::Train)?);
    Ok(Loader::new(dataset, recipe.seed, recipe.batch).map_err(crate::data_error)?)
}

/// Pretraining.
pub(crate) fn diffusion_run<'a>(
    loaded: &'a LoadedRecipe,
    objective: &'a DiffusionObjective,
    ranks: Rc<dyn Collective>,
) -> Result<DiffusionRun<'a>, CoreError> {
    let recipe = &loaded.recipe;
    let device = device(recipe.device)?;
    let shards = Shards::among(ranks, recipe.shards, recipe.rounds)?;
    let feed = feed(loader(loaded)?, recipe, &shards);
    let (denoiser, text) = model(loaded, &recipe.model, &device.clone().autodiff())?;
    let denoiser = dtype::denoiser(denoiser, recipe.dtype.model);
    let networks: [(&str, &dyn Network); 2] = [("denoiser", &*denoiser), ("text", &*text)];
    let ema = Ema::new(objective.ema_half_life, &networks).at(objective.ema_home);
    let trainer = DiffusionTrainer {
        ema,
        denoiser,
        text,
        diffusion: diffusion(&recipe.model),
        optimizer: AdamW::new(objective.optimizer),
        shards,
    };
    let codec = codec(recipe, &device)?;
    let encodings = Encodings::new(recipe, &*codec, &*trainer.text, &device);
    Ok(DiffusionRun { recipe, objective, trainer, codec, feed, encodings, device })
}

/// Adversarial Diffusion Distillation.
pub(crate) fn add_run<'a>(
    loaded: &'a LoadedRecipe,
    objective: &'a AddObjective,
    ranks: Rc<dyn Collective>,
) -> Result<AddRun<'a>, CoreError> {
    add_run_with(loaded, objective, Values::Stated, loader(loaded)?, ranks)
}

/// A student on the trainable device.
struct Student {
    network: Box<dyn Denoiser>,
    text: Box<dyn TextNetwork>,
    /// What it begins as, on the plain device.
    initial: Box<dyn Denoiser>,
    /// The SHA-256 of what stays as it is.
    frozen: BTreeMap<String, String>,
}

/// Where the values of a run's networks come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// From where the recipe says.
    Stated,
    /// They are drawn, so that no file is needed.
    Drawn,
}

/// Adversarial Diffusion Distillation with networks of these `values` on the pictures of `loader`.
pub(crate) fn add_run_with<'a>(
    loaded: &'a LoadedRecipe,
    objective: &'a AddObjective,
    values: Values,
    loader: Loader,
    ranks: Rc<dyn Collective>,
) -> Result<AddRun<'a>, CoreError> {
    let recipe = &loaded.recipe;
    let plain = device(recipe.device)?;
    let trainable = plain.clone().autodiff();
    let shards = Shards::among(ranks, recipe.shards, recipe.rounds)?;
    let feed = feed(loader, recipe, &shards);
    let model = |of: &Model, device: &Device| match values {
        Values::Stated => model(loaded, of, device),
        Values::Drawn => drawn_model(recipe, of, device),
    };
    let dtype = recipe.dtype;
    let codec = |codec: &Plugin<dyn Codec>| {
        let network = match values {
            Values::Stated => codec.init(&plain),
            Values::Drawn => codec.outline(&plain),
        };
        network.map(|network| dtype::frozen_codec(network, dtype.codec))
    };
    let Student { network: student, text, initial, frozen } = match &recipe.model.adapter {
        Adapter::Off() => {
            let (network, text) = model(&recipe.model, &trainable)?;
            Student { initial: network.frozen(), network, text, frozen: BTreeMap::new() }
        }
        Adapter::Lora(lora) => {
            let (initial, text) = model(&recipe.model, &plain)?;
            let frozen = BTreeMap::from([("student's base".to_owned(), State::digest_of(&*initial))]);
            let base = dtype::held(initial.frozen(), dtype.model);
            let network = adapters::adapted(recipe, lora, &*base, &trainable)?;
            // In one type, teacher and base share their values.
            let initial = if dtype.teacher == dtype.model { base } else { initial };
            Student { network, text, initial, frozen }
        }
    };
    let (teacher, teacher_diffusion) = match &objective.teacher.model {
        TeacherModel::Initial() => (initial, diffusion(&recipe.model)),
        TeacherModel::Other(other) => {
            drop(initial);
            (model(other, &plain)?.0, diffusion(other))
        }
    };
    let student = dtype::denoiser(student, dtype.model);
    let teacher = dtype::frozen_denoiser(teacher, dtype.teacher);
    let features = features(objective, |network| {
        let network = match values {
            Values::Stated => network.init(&plain),
            Values::Drawn => network.outline(&plain),
        };
        network.map(|network| dtype::frozen_features(network, dtype.features))
    })?;
    let heads = heads(recipe, objective, &features, &trainable)?;
    let Features { network: features, image_encoder } = features;
    heads.check_batch(recipe.batch / (recipe.shards * recipe.rounds))?;
    let schedule = recipe.model.schedule.tables();
    let timesteps = objective.student_timesteps.resolve(schedule.steps());
    let trainer = AddTrainer {
        ema: Ema::new(objective.ema_half_life, &[("", &*student)]).at(objective.ema_home),
        networks: AddNetworks {
            student,
            heads,
            teacher,
            features,
            image_encoder,
            codec: codec(&recipe.codec)?,
            distillation_codec: objective.distillation.space.codec().map(codec).transpose()?,
        },
        method: AddMethod {
            student_diffusion: diffusion(&recipe.model),
            teacher_diffusion,
            weighting: &*objective.distillation.weighting,
            options: options(objective, &timesteps),
        },
        shards,
        optimizer_g: AdamW::new(objective.generator),
        optimizer_d: AdamW::new(objective.discriminator),
    };
    let text = dtype::frozen_text(text.frozen(), dtype.text);
    let encodings = Encodings::new(recipe, &*trainer.networks.codec, &*text, &plain);
    let encoded = |caption: &str| encodings.captions(&*text, &[caption.to_owned()]);
    Ok(AddRun {
        recipe,
        objective,
        trainer,
        null: encoded(""),
        negative: encoded(&objective.teacher.negative),
        text,
        feed,
        encodings,
        timesteps,
        frozen,
        health: HeadsHealth::default(),
        device: plain,
    })
}

/// The frozen networks that a discriminator looks through.
pub(crate) struct Features {
    pub(crate) network: Box<dyn FeatureExtractor>,
    pub(crate) image_encoder: Option<Box<dyn FeatureExtractor>>,
}

/// The feature networks, each made by `make`.
pub(crate) fn features(
    objective: &AddObjective,
    make: impl Fn(&Plugin<dyn FeatureNetwork>) -> Result<Box<dyn FeatureExtractor>, PluginError>,
) -> Result<Features, CoreError> {
    let adversarial = &objective.adversarial;
    let image_encoder = match &adversarial.image_encoder {
        ImageEncoder::Features => None,
        ImageEncoder::Network(network) => Some(make(network)?),
    };
    Ok(Features { network: make(&adversarial.features)?, image_encoder })
}

/// Heads on `device` of the widths that follow from the networks that they look through.
pub(crate) fn heads(
    recipe: &Recipe,
    objective: &AddObjective,
    features: &Features,
    device: &Device,
) -> Result<Box<dyn Discriminator>, CoreError> {
    let adversarial = &objective.adversarial;
    let channels: Vec<usize> = features.network.hooks().iter().map(|(_, channels)| *channels).collect();
    let text_width = if adversarial.text_condition { recipe.text.info().pooled } else { 0 };
    let image_width = match adversarial.image_condition {
        ImageCondition::Off => 0,
        _ => features.image_encoder.as_ref().unwrap_or(&features.network).embedding_width(),
    };
    Ok(adversarial.heads.init(&channels, text_width + image_width, recipe.seed, device)?)
}

fn options(objective: &AddObjective, timesteps: &[usize]) -> AddOptions {
    let (adversarial, distillation) = (&objective.adversarial, &objective.distillation);
    AddOptions {
        adversarial_weight: adversarial.weight,
        lambda: distillation.lambda,
        distance: distillation.distance,
        space: match distillation.space {
            DistillationSpace::Pixel | DistillationSpace::PixelBy(_) => Space::Pixel,
            DistillationSpace::Crop { size } => Space::Crop(size),
            DistillationSpace::Latent => Space::Latent,
        },
        heads: adversarial.reduction,
        r1: adversarial.r1,
        gamma: adversarial.gamma,
        text_condition: adversarial.text_condition,
        image_condition: adversarial.image_condition,
        teacher_steps: objective.teacher.steps,
        last_timestep: timesteps.last().copied().unwrap_or_default(),
        terminal: objective.terminal,
    }
}
