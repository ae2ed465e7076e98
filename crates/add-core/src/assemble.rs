//! From a method's list of networks to the networks, and from a recipe to its run or to a model that is sampled.

use std::{collections::BTreeMap, path::Path, rc::Rc, sync::Arc};

use add_data::{Feed, Loader};
use add_plugin::{
    Autoencoder, Codec, Dataset, Denoiser, Discriminator, FeatureExtractor, Network, Plugin, Split,
    TextEncoder, TextNetwork, TrainableAutoencoder,
};
use add_recipe::{
    CODEC_PREFIX, Condition, Dtypes, EvaluatedModel, Hooks, MethodRun, Model, NamedModel, Recipe, RunContext,
    SampledModel, Slot, Source, Weights, adapters, data_error, in_bf16,
};
use add_train::{
    networks::{AnyNetwork, NetworkSet, Role},
    ranks::Collective,
    replicas::Replicas,
    state::State,
};
use burn::tensor::Device;

use crate::{
    data_state::DataState,
    device,
    error::CoreError,
    lora, model_file,
    read::LoadedRecipe,
    weights::{check_prediction, released},
};

/// Where the values of a run's networks come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// From where the recipe says.
    Stated,
    /// They are drawn, so that no file is needed.
    Drawn,
}

/// The run of a recipe, and what its data is.
pub(crate) fn run(
    loaded: &LoadedRecipe,
    ranks: Rc<dyn Collective>,
) -> Result<(Box<dyn MethodRun + '_>, DataState), CoreError> {
    let recipe = &loaded.recipe;
    let dataset: Arc<dyn Dataset> = Arc::from(loaded.data(Split::Train)?);
    let data = DataState::of(&*dataset);
    let loader = Loader::new(dataset, recipe.seed, recipe.batch).map_err(data_error)?;
    Ok((run_with(loaded, Values::Stated, loader, ranks)?, data))
}

/// The run of a recipe with networks of these `values` on the pictures of `loader`.
pub(crate) fn run_with(
    loaded: &LoadedRecipe,
    values: Values,
    loader: Loader,
    ranks: Rc<dyn Collective>,
) -> Result<Box<dyn MethodRun + '_>, CoreError> {
    let recipe = &loaded.recipe;
    let device = device::of(recipe)?;
    let sharers = (!recipe.optimizer_states.are_replicated()).then(|| Rc::clone(&ranks));
    let replicas = Replicas::among(ranks, recipe.replicas, recipe.gradient_accumulation)?;
    let feed = Feed::new(loader.part(replicas.ranges(recipe.batch).into_iter().flatten()), recipe.workers);
    let networks = networks(loaded, &recipe.objective.networks(recipe), values, &device, sharers)?;
    Ok(recipe.objective.start(recipe, networks, RunContext { feed, replicas, device })?)
}

/// The networks of `slots` on `device`, those that are trained on its autodiff side, with optimisers and averages, of which each
/// of the `sharers` keeps a share.
pub(crate) fn networks(
    loaded: &LoadedRecipe,
    slots: &[Slot<'_>],
    values: Values,
    device: &Device,
    sharers: Option<Rc<dyn Collective>>,
) -> Result<NetworkSet, CoreError> {
    let set = NetworkSet::default();
    let mut assembly = Assembly { loaded, slots, values, device, set, beginnings: BTreeMap::new() };
    for slot in slots {
        let network = assembly.network(slot)?;
        assembly.set.add(slot.role, network, slot.change);
    }
    let mut set = assembly.set;
    if let Some(ranks) = sharers {
        set.share_states(ranks);
    }
    set.start();
    Ok(set)
}

/// Networks on their way into a set.
struct Assembly<'a> {
    loaded: &'a LoadedRecipe,
    slots: &'a [Slot<'a>],
    values: Values,
    device: &'a Device,
    set: NetworkSet,
    /// Frozen copies of the denoisers that other networks begin as.
    beginnings: BTreeMap<Role, Box<dyn Denoiser>>,
}

impl Assembly<'_> {
    fn network(&mut self, slot: &Slot<'_>) -> Result<AnyNetwork, CoreError> {
        let recipe = &self.loaded.recipe;
        let trained = slot.change.training().is_some();
        let device = if trained { self.device.clone().autodiff() } else { self.device.clone() };
        let stated = self.values == Values::Stated;
        Ok(match &slot.source {
            Source::Model { model, text, .. } => {
                AnyNetwork::Denoiser(self.denoiser(slot, model, text, &device)?)
            }
            Source::BeginningOf(role) => {
                let beginning = self.beginnings.get(role).expect("a copy follows what it is a copy of");
                AnyNetwork::Denoiser(in_bf16::frozen_denoiser(beginning.frozen(), slot.dtype))
            }
            Source::Text { encoder, model } => {
                let text = match self.values {
                    Values::Stated => text(self.loaded, encoder, model, &device)?,
                    Values::Drawn => encoder.outline(&device)?,
                };
                AnyNetwork::Text(if trained { text } else { in_bf16::frozen_text(text, slot.dtype) })
            }
            Source::Codec(codec) if trained => AnyNetwork::TrainedCodec(self.trained_codec(codec, &device)?),
            Source::Codec(codec) => {
                let network = if stated { codec.init(&device) } else { codec.outline(&device) }?;
                AnyNetwork::Codec(in_bf16::frozen_codec(network, slot.dtype))
            }
            Source::Features(features) => {
                let network = if stated { features.init(&device) } else { features.outline(&device) }?;
                AnyNetwork::Features(in_bf16::frozen_features(network, slot.dtype))
            }
            Source::Heads { .. } => {
                let heads = heads(recipe, self.slots, slot, &|role| self.set.features(role), &device)?;
                heads.check_batch(recipe.batch / recipe.parts())?;
                AnyNetwork::Heads(heads)
            }
        })
    }

    /// The denoiser of `slot`; a frozen copy is kept where another network begins as one.
    fn denoiser(
        &mut self,
        slot: &Slot<'_>,
        model: &Model,
        text: &Plugin<dyn TextEncoder>,
        device: &Device,
    ) -> Result<Box<dyn Denoiser>, CoreError> {
        let is_copied = self.slots.iter().any(|other| copied(other) == Some(slot.role));
        let Some(lora) = slot.adapter else {
            let network = self.values(model, text, device)?;
            if is_copied {
                self.beginnings.insert(slot.role, network.frozen());
            }
            return Ok(match slot.change.training() {
                Some(_) => in_bf16::denoiser(network, slot.dtype),
                None => in_bf16::frozen_denoiser(network, slot.dtype),
            });
        };
        let beginning = self.values(model, text, self.device)?;
        self.set.add_base(format!("{}'s base", slot.role), State::digest_of(&*beginning));
        let copies = || self.slots.iter().filter(|other| copied(other) == Some(slot.role));
        // In one type, the copies and the base share their values; in another, those in f32 are kept beside the base, and
        // else each of them goes when it has been rounded: both at once are more than the run ever needs.
        let shared = copies().all(|other| other.dtype == slot.dtype);
        let frozen = beginning.frozen();
        let beginning = (!shared).then_some(beginning);
        let base = in_bf16::held(frozen, slot.dtype);
        let network = adapters::adapted(&self.loaded.recipe, lora, &*base, device)?;
        if is_copied {
            self.beginnings.insert(slot.role, beginning.unwrap_or(base));
        }
        Ok(in_bf16::denoiser(network, slot.dtype))
    }

    /// A codec to be trained, with the values that it states, or with drawn ones.
    fn trained_codec(
        &self,
        codec: &Plugin<dyn Codec>,
        device: &Device,
    ) -> Result<Box<dyn TrainableAutoencoder>, CoreError> {
        let mut network = codec.trainable(self.loaded.recipe.seed, device)?;
        if self.values == Values::Stated && !codec.is_drawn() {
            let mut stated = BTreeMap::new();
            codec.init(self.device)?.for_each_parameter(&mut |path, _, value| {
                stated.insert(path.to_owned(), value);
            });
            network.set_parameters(&mut |path, _, _| stated.remove(path));
        }
        Ok(network)
    }

    /// A denoiser with its model's values, or with drawn ones.
    fn values(
        &self,
        model: &Model,
        text: &Plugin<dyn TextEncoder>,
        device: &Device,
    ) -> Result<Box<dyn Denoiser>, CoreError> {
        match self.values {
            Values::Stated => denoiser(self.loaded, model, text, device),
            Values::Drawn => Ok(model.backbone.init(text.info(), self.loaded.recipe.seed, device)?),
        }
    }
}

/// The role that a network is a copy of.
fn copied(slot: &Slot<'_>) -> Option<Role> {
    match slot.source {
        Source::BeginningOf(role) => Some(role),
        _ => None,
    }
}

/// The heads of `slot` on `device`, of the widths that follow from the networks that they look through.
pub(crate) fn heads<'s>(
    recipe: &Recipe,
    slots: &[Slot<'_>],
    slot: &Slot<'_>,
    features: &dyn Fn(Role) -> &'s dyn FeatureExtractor,
    device: &Device,
) -> Result<Box<dyn Discriminator>, CoreError> {
    let Source::Heads { heads, on, condition } = &slot.source else {
        unreachable!("{}: only heads are made here", slot.role)
    };
    let hooks = match on {
        Hooks::Network(role) => features(*role).hooks(),
        Hooks::Blocks(_, blocks) => blocks.clone(),
    };
    let channels: Vec<usize> = hooks.iter().map(|(_, channels)| *channels).collect();
    let width = |condition: &Condition| match condition {
        Condition::Pooled(role) => text_of(slots, *role).info().pooled,
        Condition::Embedding(role) => features(*role).embedding_width(),
    };
    Ok(heads.init(&channels, condition.iter().map(width).sum(), recipe.seed, device)?)
}

/// The text encoder of a role.
fn text_of<'a>(slots: &[Slot<'a>], role: Role) -> &'a Plugin<dyn TextEncoder> {
    let found = slots.iter().find_map(|slot| match slot.source {
        Source::Text { encoder, .. } if slot.role == role => Some(encoder),
        _ => None,
    });
    found.expect("heads are conditioned on an encoder that the method's list states")
}

/// A denoiser on `device`, filled as its model says.
fn denoiser(
    loaded: &LoadedRecipe,
    model: &Model,
    text: &Plugin<dyn TextEncoder>,
    device: &Device,
) -> Result<Box<dyn Denoiser>, CoreError> {
    let mut denoiser = match released(model) {
        None => model.backbone.init(text.info(), loaded.recipe.seed, device)?,
        Some((naming, location)) => {
            check_prediction(model)?;
            model.backbone.load(text.info(), naming, &location.fetch(&mut ())?, device)?
        }
    };
    if let Weights::File(name) = &model.weights {
        let networks: &mut [(&str, &mut dyn Network)] = &mut [("denoiser", &mut *denoiser)];
        model_file::read(&loaded.resolve(name), &loaded.recipe, model, networks)?;
    }
    lora::onto_denoiser(&model.loras, &model.backbone, &mut *denoiser)?;
    Ok(denoiser)
}

/// A text encoder on `device`; where it has no weights of its own, they are in the file of its model.
fn text(
    loaded: &LoadedRecipe,
    encoder: &Plugin<dyn TextEncoder>,
    model: &Model,
    device: &Device,
) -> Result<Box<dyn TextNetwork>, CoreError> {
    let mut text = encoder.init(loaded.recipe.seed, device)?;
    let file = match (&model.text_weights, &model.weights) {
        (Some(name), _) | (None, Weights::File(name)) => Some(name),
        (None, Weights::Random() | Weights::Diffusers(_) | Weights::Ldm(_)) => None,
    };
    if let Some(name) = file.filter(|_| encoder.weights().is_empty()) {
        let networks: &mut [(&str, &mut dyn Network)] = &mut [("text", &mut *text)];
        model_file::read(&loaded.resolve(name), &loaded.recipe, model, networks)?;
    }
    lora::onto_text(&model.loras, encoder, &mut *text)?;
    Ok(text)
}

/// The model in the file at `path`, to be sampled.
///
/// # Errors
/// When the file is missing, damaged, or holds another model than the recipe's.
pub fn sampled(loaded: &LoadedRecipe, path: &Path) -> Result<SampledModel, CoreError> {
    let recipe = &loaded.recipe;
    let device = device::of(recipe)?;
    let mut denoiser = recipe.model.backbone.init(recipe.text.info(), recipe.seed, &device)?;
    let mut text = recipe.text.init(recipe.seed, &device)?;
    let mut networks: Vec<(&str, &mut dyn Network)> = vec![("denoiser", &mut *denoiser)];
    if recipe.text_is_the_models() {
        networks.push(("text", &mut *text));
    }
    let card = model_file::read(path, recipe, &recipe.model, &mut networks)?;
    drop(networks);
    if !recipe.text_is_the_models() {
        // What a LoRA did to the denoiser is in the file; a text encoder that stayed as it was is not.
        lora::onto_text(&recipe.model.loras, &recipe.text, &mut *text)?;
    }
    let student_timesteps = card.student_timesteps();
    Ok(SampledModel {
        denoiser,
        text,
        diffusion: recipe.model.diffusion(recipe.codec.info()),
        student_timesteps,
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
) -> Result<SampledModel, CoreError> {
    let (recipe, device) = (&loaded.recipe, device::of(&loaded.recipe)?);
    // The denoiser first: it is the largest, and its file the first that may be missing.
    let denoiser = denoiser(loaded, of, &recipe.text, &device)?;
    let text = text(loaded, &recipe.text, of, &device)?;
    Ok(SampledModel { denoiser, text, diffusion: of.diffusion(recipe.codec.info()), student_timesteps })
}

/// A model beside the trained one that the recipe's method names, such as its teacher, to be sampled; `None` where there is no
/// such model. One with a text encoder and a codec of its own is sampled by a recipe of its own.
///
/// # Errors
/// When its weights cannot be had.
pub fn named(loaded: &LoadedRecipe, which: EvaluatedModel) -> Result<Option<SampledModel>, CoreError> {
    let recipe = &loaded.recipe;
    let named = recipe.objective.models(recipe).into_iter().find(|model| model.name == which);
    let Some(NamedModel { model, student_timesteps, dtype, .. }) = named else { return Ok(None) };
    let model = untrained(loaded, model, student_timesteps)?;
    Ok(Some(model.in_types(Dtypes { model: dtype, ..recipe.dtype })))
}

/// The recipe's model with drawn values; no file is read.
pub(crate) fn drawn(recipe: &Recipe, device: &Device) -> Result<SampledModel, CoreError> {
    let diffusion = recipe.model.diffusion(recipe.codec.info());
    Ok(SampledModel {
        denoiser: recipe.model.backbone.init(recipe.text.info(), recipe.seed, device)?,
        text: recipe.text.outline(device)?,
        student_timesteps: vec![diffusion.schedule.steps() - 1],
        diffusion,
    })
}

/// Whether the recipe's method trains its codec.
pub(crate) fn trains_codec(recipe: &Recipe) -> bool {
    let slots = recipe.objective.networks(recipe);
    slots.iter().any(|slot| matches!(slot.source, Source::Codec(_)) && slot.change.training().is_some())
}

/// The recipe's codec with the values in the file at `path` that its training left, on `device`.
///
/// # Errors
/// When the file is missing, damaged, or holds something else.
pub(crate) fn codec_of(
    loaded: &LoadedRecipe,
    path: &Path,
    device: &Device,
) -> Result<Box<dyn Autoencoder>, CoreError> {
    let recipe = &loaded.recipe;
    let mut codec = recipe.codec.outline(device)?;
    model_file::read(path, recipe, &recipe.model, &mut [(CODEC_PREFIX, &mut *codec)])?;
    Ok(in_bf16::frozen_codec(codec, recipe.dtype.codec))
}

/// The recipe's codec on `device`.
///
/// # Errors
/// When its weights cannot be had.
pub fn codec(recipe: &Recipe, device: &Device) -> Result<Box<dyn Autoencoder>, CoreError> {
    Ok(in_bf16::frozen_codec(recipe.codec.init(device)?, recipe.dtype.codec))
}
