//! Family `Method`: what a run learns, and how.

use std::collections::BTreeMap;

use add_data::Feed;
use add_eval::report::Presentation;
use add_plugin::{
    Codec, Entry, Family, FamilyList, Network, Plugin, PluginError, Registered, TextEncoder,
    TrainableAutoencoder, erased_serde, inventory,
};
use add_train::{TrainError, health::Alarm, networks::NetworkSet, replicas::Replicas, run::Objective};
use add_weights::NamedTensor;
use burn::tensor::Device;
use serde::de::DeserializeOwned;

use crate::{Dtype, EvaluatedModel, Model, Passes, Problems, Recipe, SampledModel, Slot};

/// A training method, as the recipe states it under `objective`.
///
/// It states its networks once, in [`networks`](Self::networks); fetching, assembly, `--dry-run`, `plan`, rehearsal,
/// checkpoints, adapters, averages and ranks follow from that list.
pub trait Method: Family {
    /// Its networks, in the order in which their files are read.
    fn networks<'a>(&'a self, recipe: &'a Recipe) -> Vec<Slot<'a>>;

    /// Adds what does not hold of its own fields, and of those of the recipe that it depends on. Paths begin with `objective`.
    fn check(&self, recipe: &Recipe, problems: &mut Problems);

    /// The run, on networks that were made from its list.
    ///
    /// # Errors
    /// When the networks do not fit together.
    fn start<'a>(
        &'a self,
        recipe: &'a Recipe,
        networks: NetworkSet,
        context: RunContext,
    ) -> Result<Box<dyn MethodRun + 'a>, PluginError>;

    /// What a step does with its networks.
    fn passes(&self, recipe: &Recipe) -> Passes;

    /// The models beside the trained one that an evaluation may name.
    fn models<'a>(&'a self, _recipe: &'a Recipe) -> Vec<NamedModel<'a>> {
        Vec::new()
    }

    /// Whether it trains at all.
    fn trains(&self) -> bool {
        true
    }

    /// Whether its student may be low-rank factors beside frozen values.
    fn takes_adapters(&self) -> bool {
        false
    }

    /// How the report shows it: a heading, and the charts of its figures.
    fn presentation(&self) -> Presentation;

    /// What looks after a run's figures and warns.
    fn alarms(&self) -> Vec<Box<dyn Alarm>> {
        Vec::new()
    }
}

/// What a run is given beside its networks.
pub struct RunContext {
    /// The batches of this rank.
    pub feed: Feed,
    /// The parts in which a batch is computed.
    pub replicas: Replicas,
    /// The plain device.
    pub device: Device,
}

/// A run of a method.
pub trait MethodRun: Objective {
    /// Measures on data what the product needs beside its values. It is called on every rank, once, after the last step and before
    /// [`product`](Self::product).
    ///
    /// # Errors
    /// When the data fails.
    fn finish(&mut self) -> Result<(), TrainError> {
        Ok(())
    }

    /// What the run has made so far.
    fn product(&self) -> Product;
}

/// What the names of a codec's parameters begin with in a file.
pub const CODEC_PREFIX: &str = "codec";

/// What a run leaves behind: averaged networks on the plain device.
pub struct Product {
    /// The networks of `model.safetensors`, by the prefix of their names.
    pub networks: Vec<(&'static str, Box<dyn Network>)>,
    /// Timesteps of a distilled student, ascending; empty for a model that knows all.
    pub student_timesteps: Vec<usize>,
    /// The adapters alone, by the names of peft; none where there are no adapters.
    pub adapters: BTreeMap<String, NamedTensor>,
}

impl Product {
    /// A model of the recipe's shape, with the text encoder where its values belong to the model.
    pub fn model(recipe: &Recipe, model: SampledModel) -> Self {
        let mut networks: Vec<(&str, Box<dyn Network>)> = vec![("denoiser", model.denoiser)];
        if recipe.text_is_the_models() {
            networks.push(("text", model.text));
        }
        Self { networks, student_timesteps: model.student_timesteps, adapters: BTreeMap::new() }
    }

    /// A codec alone.
    pub fn codec(codec: Box<dyn TrainableAutoencoder>) -> Self {
        let networks: Vec<(&str, Box<dyn Network>)> = vec![(CODEC_PREFIX, codec)];
        Self { networks, student_timesteps: Vec::new(), adapters: BTreeMap::new() }
    }

    /// Whether it holds a model that can be sampled, and not a codec alone.
    pub fn is_model(&self) -> bool {
        self.networks.iter().all(|(prefix, _)| *prefix != CODEC_PREFIX)
    }
}

/// A model that an evaluation may name.
#[derive(Debug, Clone)]
pub struct NamedModel<'a> {
    /// Its name.
    pub name: EvaluatedModel,
    /// What it is made of.
    pub model: &'a Model,
    /// Its text encoder.
    pub text: &'a Plugin<dyn TextEncoder>,
    /// Its codec.
    pub codec: &'a Plugin<dyn Codec>,
    /// Timesteps that it is sampled at, ascending; empty for all.
    pub student_timesteps: Vec<usize>,
    /// What it computes in.
    pub dtype: Dtype,
}

impl<'a> NamedModel<'a> {
    /// The recipe's model as it is before it is distilled, sampled at the student's timesteps.
    pub fn undistilled(recipe: &'a Recipe, student_timesteps: Vec<usize>) -> Self {
        Self {
            name: EvaluatedModel::Undistilled,
            model: &recipe.model,
            text: &recipe.text,
            codec: &recipe.codec,
            student_timesteps,
            dtype: recipe.dtype.model,
        }
    }

    /// The `model` that teaches, with the recipe's text encoder and codec, sampled at all timesteps.
    pub fn teacher(recipe: &'a Recipe, model: &'a Model) -> Self {
        Self {
            name: EvaluatedModel::Teacher,
            model,
            text: &recipe.text,
            codec: &recipe.codec,
            student_timesteps: Vec::new(),
            dtype: recipe.dtype.teacher,
        }
    }
}

/// A method on the list of methods.
pub struct MethodEntry(Entry<dyn Method>);

impl MethodEntry {
    /// The entry of method `M`: its struct's name, and where it comes from.
    pub const fn of<M: Method + DeserializeOwned + 'static>(
        name: &'static str,
        source: &'static str,
    ) -> Self {
        Self(Entry::new::<M>(name, source, |d| Ok(Box::new(erased_serde::deserialize::<M>(d)?))))
    }
}

inventory::collect!(MethodEntry);
inventory::submit!(FamilyList::of::<dyn Method>());

impl Registered for dyn Method {
    const NAME: &'static str = "Method";

    fn entries() -> Box<dyn Iterator<Item = &'static Entry<Self>>> {
        Box::new(inventory::iter::<MethodEntry>.into_iter().map(|entry| &entry.0))
    }
}

/// A method by the name that the recipe gives it.
pub type AnyMethod = Plugin<dyn Method>;

/// A method that a program made, under the name with which a recipe would say it.
pub fn method<M: Method + 'static>(method: M) -> AnyMethod {
    Plugin::made::<M>(Box::new(method))
}
