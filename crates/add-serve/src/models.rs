//! The models that are offered: what each is called, and what may be asked of it.

use std::sync::Arc;

use add_core::{
    error::CoreError,
    loaded::LoadedModel,
    read::LoadedRecipe,
    recipe::{DeviceChoice, EvaluatedModel, SampledModel, one_line, options},
};
use add_plugin::{Plugin, Registered as _, Sampler};
use serde::Serialize;

use crate::ApiError;

/// What a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It was distilled, or trained in another way.
    Student,
    /// A student learns or learnt from it.
    Teacher,
    /// Its weights were released by others.
    Pipeline,
}

/// A model that is offered, with its networks.
pub struct Offered {
    pub(crate) about: About,
    pub(crate) model: LoadedModel,
}

/// What is known of an offered model without its networks.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) card: Card,
    pub(crate) recipe: Arc<LoadedRecipe>,
    pub(crate) samplers: Arc<[Plugin<dyn Sampler>]>,
}

/// What `/api/models` says of a model.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Card {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Side of the pictures that it was trained on, in pixels.
    pub(crate) size: usize,
    /// Longest side that may be asked for.
    pub(crate) max_size: usize,
    /// Sides must be multiples of this.
    pub(crate) multiple_of: usize,
    /// Numbers of steps to offer.
    pub(crate) steps: Vec<usize>,
    pub(crate) samplers: Vec<&'static str>,
    /// What is taken where a request does not say.
    pub(crate) defaults: Defaults,
    pub(crate) supports: Supports,
    /// Words that end a caption and name a style.
    pub(crate) styles: Vec<String>,
    pub(crate) example_prompts: Vec<String>,
    pub(crate) device: String,
}

/// How pictures are made unless a request says otherwise.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Defaults {
    pub(crate) sampler: &'static str,
    pub(crate) steps: usize,
    pub(crate) guidance: f64,
    pub(crate) strength: f64,
}

/// What a model can do with a request.
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the answer")]
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Supports {
    pub(crate) guidance: bool,
    pub(crate) negative: bool,
    pub(crate) init: bool,
    pub(crate) mask: bool,
}

/// How much of a picture to begin with is changed unless a request says otherwise, as in A1111's web UI.
const STRENGTH: f64 = 0.75;

impl Offered {
    /// The model that a recipe samples.
    ///
    /// # Errors
    /// When the weights of its codec cannot be had.
    pub fn main(recipe: Arc<LoadedRecipe>, model: SampledModel) -> Result<Self, CoreError> {
        let said = &recipe.recipe;
        let kind = if said.objective.trains() { Kind::Student } else { Kind::Pipeline };
        let steps = match kind {
            Kind::Student => said.preview.steps.clone(),
            _ => vec![said.sampling.steps],
        };
        let preset = Preset {
            sampler: one_line(&said.sampling.sampler),
            steps: said.sampling.steps,
            guidance: said.sampling.guidance,
        };
        let name = said.name.clone();
        Self::new(name, kind, recipe, model, preset, steps)
    }

    /// The teacher of a recipe, sampled as the recipe's evaluation does at its most steps.
    ///
    /// # Errors
    /// When the weights of its codec cannot be had.
    pub fn teacher(recipe: Arc<LoadedRecipe>, model: SampledModel) -> Result<Self, CoreError> {
        let said = &recipe.recipe;
        let rows = said.evaluation.rows.iter();
        let rows: Vec<_> = rows.filter(|row| row.model.of_run() == Some(EvaluatedModel::Teacher)).collect();
        let mut steps: Vec<usize> = rows.iter().map(|row| row.steps).collect();
        let preset = match rows.iter().max_by_key(|row| row.steps) {
            Some(row) => Preset { sampler: one_line(&row.sampler), steps: row.steps, guidance: row.guidance },
            None => {
                Preset { sampler: "DpmSolver2M()".to_owned(), steps: 25, guidance: said.preview.guidance }
            }
        };
        steps.push(preset.steps);
        let name = format!("{}-teacher", said.name);
        Self::new(name, Kind::Teacher, recipe, model, preset, steps)
    }

    fn new(
        name: String,
        kind: Kind,
        recipe: Arc<LoadedRecipe>,
        model: SampledModel,
        preset: Preset,
        mut steps: Vec<usize>,
    ) -> Result<Self, CoreError> {
        let said = &recipe.recipe;
        let samplers = samplers(&preset.sampler)?;
        steps.sort_unstable();
        steps.dedup();
        let guided = model.student_timesteps.is_empty();
        let size = said.data.size();
        let device = format!("{:?}", said.device);
        let card = Card {
            name,
            kind,
            size,
            max_size: 2 * size,
            multiple_of: said.codec.info().reduction * said.model.backbone.info().multiple_of,
            steps,
            samplers: samplers.iter().map(Plugin::name).collect(),
            defaults: Defaults {
                sampler: samplers[0].name(),
                steps: preset.steps,
                guidance: preset.guidance,
                strength: STRENGTH,
            },
            supports: Supports { guidance: guided, negative: guided, init: true, mask: false },
            styles: said.data.styles(),
            example_prompts: said.preview.prompts.clone(),
            device,
        };
        let model = LoadedModel::new(said, model)?;
        Ok(Self { about: About { card, recipe, samplers: samplers.into() }, model })
    }
}

/// How a model is sampled unless told otherwise.
struct Preset {
    /// As a recipe states it.
    sampler: String,
    steps: usize,
    guidance: f64,
}

/// A model's own sampler, then every other that is linked, with its defaults.
fn samplers(own: &str) -> Result<Vec<Plugin<dyn Sampler>>, CoreError> {
    let read = |text: &str| options().from_str::<Plugin<dyn Sampler>>(text);
    let own = read(own).map_err(|error| CoreError::Request(format!("sampler: {}", error.code)))?;
    let mut names: Vec<&str> = <dyn Sampler>::entries().map(|entry| entry.name).collect();
    names.sort_unstable();
    let others = names.into_iter().filter(|name| *name != own.name());
    // A sampler without defaults cannot be offered by its name.
    let others: Vec<_> = others.filter_map(|name| read(&format!("{name}()")).ok()).collect();
    Ok(std::iter::once(own).chain(others).collect())
}

impl About {
    /// The place of a sampler by its name.
    pub(crate) fn sampler(&self, name: &str) -> Result<usize, ApiError> {
        let found = self.samplers.iter().position(|sampler| sampler.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            let expected = self.card.samplers.join(", ");
            ApiError::field(
                "sampler",
                format!("expected one of {expected}, got {:?}", crate::wanted::shown(name)),
            )
        })
    }

    /// Where it computes.
    pub(crate) fn device(&self) -> DeviceChoice {
        self.recipe.recipe.device
    }
}
