//! Which models an evaluation is about: the recipe's own, another recipe's, or a released one that a row states.

use std::path::Path;

use add_plugin::{Autoencoder, Codec, Plugin, Sampler, TextEncoder};
use add_recipe::{
    Beginning, Dimensions, EvaluationRow, Model, NamedModel, Recipe, ReleasedModel, RowModel, SampleRequest,
    SampledModel, one_line,
};
use burn::tensor::Device;

use super::{EvaluatedRows, SEED, model};
use crate::{
    assemble,
    error::CoreError,
    read::{self, LoadedRecipe},
    weights,
};

/// A row to be measured.
pub(super) struct Plan<'a> {
    pub(super) which: &'a RowModel,
    /// The recipe of a model that is not the evaluated recipe's own.
    other: Option<LoadedRecipe>,
    name: Option<&'a str>,
    pub(super) sampler: &'a Plugin<dyn Sampler>,
    pub(super) steps: usize,
    pub(super) guidance: f64,
    size: Option<usize>,
    /// The side at which pictures are measured, where it is another.
    pub(super) measured_at: Option<usize>,
}

/// A model that pictures are made with.
pub(super) struct Subject<'a> {
    pub(super) name: String,
    recipe: &'a Recipe,
    model: SampledModel,
    codec: Box<dyn Autoencoder>,
    /// Side of its pictures, in pixels.
    pub(super) size: usize,
}

/// What a recipe for sampling alone is evaluated as where it has no rows.
static STATED: RowModel = RowModel::Stated;

/// The rows of an evaluation, each checked before any work.
pub(super) fn plans(loaded: &LoadedRecipe, extent: EvaluatedRows) -> Result<Vec<Plan<'_>>, CoreError> {
    let recipe = &loaded.recipe;
    let rows = &recipe.evaluation.rows;
    if rows.is_empty() && !recipe.objective.trains() {
        let sampling = &recipe.sampling;
        return Ok(vec![Plan {
            which: &STATED,
            other: None,
            name: Some(&recipe.name),
            sampler: &sampling.sampler,
            steps: sampling.steps,
            guidance: sampling.guidance,
            size: None,
            measured_at: None,
        }]);
    }
    let kept = rows.iter().enumerate().filter(|(_, row)| extent == EvaluatedRows::Full || row.after_training);
    kept.map(|(i, row)| plan(loaded, i, row)).collect()
}

fn plan<'a>(loaded: &LoadedRecipe, index: usize, row: &'a EvaluationRow) -> Result<Plan<'a>, CoreError> {
    let own = pipeline_of_run(loaded, &row.model);
    let other = match (&row.model, &own) {
        (RowModel::Recipe(path), _) => Some(read::read(&loaded.resolve(path), &[])?),
        (RowModel::Released(released), _) => {
            let ReleasedModel { text, codec, model } = &**released;
            Some(released_recipe(loaded, index, (text, codec, model), row)?)
        }
        (_, Some(own)) => Some(released_recipe(loaded, index, (own.text, own.codec, own.model), row)?),
        _ => None,
    };
    let plan = Plan {
        which: if own.is_some() { &STATED } else { &row.model },
        other,
        name: row.name.as_deref().or(own.map(|own| own.name.name())),
        sampler: &row.sampler,
        steps: row.steps,
        guidance: row.guidance,
        size: row.size,
        measured_at: row.measured_at,
    };
    let recipe = plan.other.as_ref().map_or(&loaded.recipe, |other| &other.recipe);
    let multiple = recipe.codec.info().reduction * recipe.model.backbone.info().multiple_of;
    match row.size {
        Some(size) if size == 0 || size % multiple != 0 => Err(CoreError::Request(format!(
            "evaluation.rows.{index}.size: expected a multiple of {multiple}, required by {}, got {size}",
            recipe.model.backbone.name()
        ))),
        _ => Ok(plan),
    }
}

/// The model of the run that a row names, where it has a text encoder and a codec of its own.
fn pipeline_of_run<'a>(loaded: &'a LoadedRecipe, which: &RowModel) -> Option<NamedModel<'a>> {
    let (recipe, which) = (&loaded.recipe, which.of_run()?);
    let named = recipe.objective.models(recipe).into_iter().find(|model| model.name == which)?;
    let same = one_line(&(named.text, named.codec)) == one_line(&(&recipe.text, &recipe.codec));
    (!same).then_some(named)
}

/// Text encoder, codec and model of a pipeline.
type Parts<'a> = (&'a Plugin<dyn TextEncoder>, &'a Plugin<dyn Codec>, &'a Model);

/// The recipe that would sample a released model, checked as any other.
fn released_recipe(
    loaded: &LoadedRecipe,
    index: usize,
    (text, codec, model): Parts<'_>,
    row: &EvaluationRow,
) -> Result<LoadedRecipe, CoreError> {
    let text = format!(
        "(name: \"row-{index}\", device: {}, data: Off(size: {}), codec: {}, text: {}, model: {}, objective: Off(), sampling: \
         (sampler: {}, steps: {}))",
        one_line(&loaded.recipe.device),
        row.size.unwrap_or(loaded.recipe.data.size()),
        one_line(codec),
        one_line(text),
        one_line(model),
        one_line(&row.sampler),
        row.steps,
    );
    let recipe = read::parse(&text, &format!("evaluation.rows.{index}.model"))?;
    Ok(LoadedRecipe { recipe, path: loaded.path.clone() })
}

impl Plan<'_> {
    /// Loads the model.
    pub(super) fn open<'a>(
        &'a self,
        loaded: &'a LoadedRecipe,
        student: Option<&Path>,
        device: &Device,
    ) -> Result<Subject<'a>, CoreError> {
        let (name, model, recipe) = match &self.other {
            None => {
                let (name, model) = model(loaded, self.which, student)?;
                (name.to_owned(), model, &loaded.recipe)
            }
            Some(other) => {
                let recipe = &other.recipe;
                let timesteps = weights::student_timesteps(other)?;
                let model = assemble::untrained(other, &recipe.model, timesteps)?.in_types(recipe.dtype);
                (recipe.name.clone(), model, recipe)
            }
        };
        Ok(Subject {
            name: self.name.map_or(name, str::to_owned),
            codec: assemble::codec(recipe, device)?,
            size: self.size.unwrap_or(recipe.data.size()),
            recipe,
            model,
        })
    }
}

impl Subject<'_> {
    /// Pictures of these captions, the first of which has the index `first` under the evaluation's seed.
    pub(super) fn pictures(
        &self,
        plan: &Plan<'_>,
        captions: &[String],
        first: usize,
    ) -> Vec<add_data::RgbImage> {
        let request = SampleRequest {
            captions,
            negative: "",
            sampler: &**plan.sampler,
            steps: plan.steps,
            guidance: plan.guidance,
            seed: SEED,
            first: first as u64,
            size: Dimensions::square(self.size),
            beginning: Beginning::default(),
        };
        add_data::pictures(&self.model.generate(self.recipe, &*self.codec, &request))
    }

    /// The side at which its pictures are measured.
    pub(super) fn measured_at(&self, plan: &Plan<'_>) -> usize {
        plan.measured_at.unwrap_or(self.size)
    }
}
