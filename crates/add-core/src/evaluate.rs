//! What `eval` does: makes pictures in every way that the recipe lists, and measures them; or measures folders of pictures
//! that were made by anything.

mod cache;
mod compared;
pub(crate) mod enough;
mod folders;
mod heads;
mod latency;
mod panel;
mod reconstructions;
mod references;
mod rows;
mod subject;

use std::path::{Path, PathBuf};

use add_data::{DataError, RgbImage};
use add_eval::Row;
use add_plugin::{Dataset, Draw, Knowledge, Labels, PluginError, Sample, Split};
use add_recipe::{EvaluatedModel, RowModel, SampledModel, data_error};
pub use folders::{Folders, evaluate_folders};
use sha2::{Digest as _, Sha256};

use self::{panel::Panel, rows::Measured, subject::Plan};
use crate::{assemble, device, error::CoreError, read::LoadedRecipe, weights};

/// The pictures of an evaluation share this seed, so that models are compared on the same noise.
const SEED: u64 = 0x0EAA;

/// What an evaluation tells while it works.
pub trait EvaluationObserver {
    /// `done` of `total` pictures are made or looked at; `what` names the row.
    fn progress(&mut self, what: &str, done: usize, total: usize);

    /// The most memory that the process has taken so far, in bytes, where somebody knows.
    fn peak_memory(&mut self) -> Option<u64> {
        None
    }
}

/// What an evaluation found.
#[derive(Debug)]
pub struct Evaluation {
    /// Every figure.
    pub rows: Vec<Row>,
    /// The same captions by every model: a row each caption, a column each model.
    pub compared: Option<RgbImage>,
}

/// Which rows are measured, on how many pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvaluatedRows {
    /// Every row, on `evaluation.samples` pictures.
    Full,
    /// The rows marked `after_training`, on `evaluation.samples_after_training` pictures.
    AfterTraining,
}

/// Captions of one set, with what they stand for.
struct Captions {
    split: String,
    texts: Vec<String>,
    labels: Vec<Labels>,
    /// SHA-256 of the texts.
    hash: String,
}

/// Measures the models that the recipe lists. `student` finds the file of the run's student; it is asked only if a row is
/// about that.
///
/// # Errors
/// When there is nothing to measure, or a model or the data cannot be had.
pub fn evaluate(
    loaded: &LoadedRecipe,
    student: &dyn Fn() -> Result<PathBuf, CoreError>,
    extent: EvaluatedRows,
    observer: &mut dyn EvaluationObserver,
) -> Result<Evaluation, CoreError> {
    let evaluation = &loaded.recipe.evaluation;
    let plans = subject::plans(loaded, extent)?;
    let samples = match extent {
        EvaluatedRows::Full => evaluation.samples,
        EvaluatedRows::AfterTraining => evaluation.samples_after_training,
    };
    check(loaded, &plans, samples)?;
    let trains = loaded.recipe.objective.trains();
    let needs_student = trains && plans.iter().any(|plan| matches!(plan.which, RowModel::Student))
        || evaluation.codec && assemble::trains_codec(&loaded.recipe);
    let student = needs_student.then(student).transpose()?;
    let device = device::of(&loaded.recipe)?;
    let sets = data(loaded, extent)?;
    if let Some(problem) = enough::real(&evaluation.metrics, sets[0].1.len()) {
        let field = if evaluation.data.is_some() { "evaluation.data" } else { "data" };
        return Err(CoreError::Request(format!("{field}: {problem}")));
    }
    let mut panel = Panel::new(&evaluation.metrics, &device)?;
    let cache = loaded.recipe.cache.cache();
    if panel::knowledge(&evaluation.metrics) > Knowledge::Nothing {
        references::of_data(&mut panel, &*sets[0].1, &cache, observer)?;
    }
    let captions: Vec<Captions> =
        // A folder may have no held-out pictures.
        sets.iter().filter(|(_, data)| !data.is_empty()).map(|(name, data)| captions(name, &**data, samples)).collect();
    let (mut rows, mut compared) = (Vec::new(), compared::Compared::default());
    if evaluation.codec {
        let codec = reconstructions::codec(loaded, student.as_deref(), &device)?;
        for (i, (name, data)) in sets.iter().filter(|(_, data)| !data.is_empty()).enumerate() {
            let shown = (i == 0).then_some(&mut compared);
            let set = reconstructions::Reconstructed { split: name, data: &**data, samples, codec: &*codec };
            rows.extend(set.rows(&mut panel, evaluation.resamples, shown, &device, observer)?);
        }
    }
    for plan in &plans {
        let subject = plan.open(loaded, student.as_deref(), &device)?;
        let latency = match extent {
            EvaluatedRows::Full => {
                latency::latency(&subject, plan, &captions[0].texts[0], evaluation.latency)
            }
            EvaluatedRows::AfterTraining => None,
        };
        for (i, captions) in captions.iter().enumerate() {
            let measured = Measured { plan, subject: &subject, captions, first: i == 0, latency };
            rows.extend(measured.rows(&mut panel, evaluation.resamples, &mut compared, observer)?);
        }
    }
    Ok(Evaluation { rows, compared: compared.draw()? })
}

/// Refuses an evaluation that would measure nothing, before any work.
fn check(loaded: &LoadedRecipe, plans: &[Plan<'_>], samples: usize) -> Result<(), CoreError> {
    let refuse = |problem: &str| Err(CoreError::Request(problem.to_owned()));
    let evaluation = &loaded.recipe.evaluation;
    if plans.is_empty() && !evaluation.codec {
        return refuse(
            "evaluation.rows: nothing to evaluate; list models, such as (model: Student, sampler: AddRefine(), steps: 1), or say \
             `codec: true` to measure what the codec makes of pictures",
        );
    }
    if evaluation.metrics.is_empty() {
        return refuse("evaluation.metrics: nothing to measure; list metrics, such as Fid() or ClipScore()");
    }
    if samples == 0 {
        return refuse(
            "evaluation.samples: expected a positive number of pictures a row, got 0; --samples says one",
        );
    }
    Ok(())
}

/// A set of captioned pictures, by name.
type Set = (String, Box<dyn Dataset>);

/// The sets whose captions are used; the first is also where the real pictures are.
fn data(loaded: &LoadedRecipe, extent: EvaluatedRows) -> Result<Vec<Set>, CoreError> {
    let mut sets = Vec::new();
    if let Some(data) = &loaded.recipe.evaluation.data {
        sets.push((data.name().to_lowercase(), data.open_beside(Split::Train, loaded.folder())?));
    } else {
        sets.push(("train".to_owned(), loaded.data(Split::Train)?));
        if extent == EvaluatedRows::Full {
            let held_out = Joined(loaded.data(Split::TestPair)?, loaded.data(Split::TestConcept)?);
            sets.push(("held-out".to_owned(), Box::new(held_out)));
        }
    }
    if sets[0].1.is_empty() { Err(data_error(DataError::Empty).into()) } else { Ok(sets) }
}

/// The two held-out splits, one after the other.
struct Joined(Box<dyn Dataset>, Box<dyn Dataset>);

impl Joined {
    fn at(&self, index: usize) -> (&dyn Dataset, usize) {
        let first = self.0.len();
        if index < first { (&*self.0, index) } else { (&*self.1, index - first) }
    }
}

impl Dataset for Joined {
    fn len(&self) -> usize {
        self.0.len() + self.1.len()
    }

    fn get(&self, index: usize, draw: &Draw) -> Result<Sample, PluginError> {
        let (data, index) = self.at(index);
        data.get(index, draw)
    }

    fn caption(&self, index: usize) -> String {
        let (data, index) = self.at(index);
        data.caption(index)
    }

    fn labels(&self, index: usize) -> Labels {
        let (data, index) = self.at(index);
        data.labels(index)
    }
}

/// `n` captions spread evenly over the split; a small split is gone through more than once.
fn captions(split: &str, data: &dyn Dataset, n: usize) -> Captions {
    captions_at(split, data, spread(n, data.len()))
}

/// `n` indices spread evenly over `len`.
fn spread(n: usize, len: usize) -> Vec<usize> {
    (0..n).map(|i| if n <= len { i * len / n } else { i % len }).collect()
}

/// The captions of these samples.
fn captions_at(split: &str, data: &dyn Dataset, indices: Vec<usize>) -> Captions {
    let texts: Vec<String> = indices.iter().map(|&index| data.caption(index)).collect();
    let labels = indices.into_iter().map(|index| data.labels(index)).collect();
    Captions { split: split.to_owned(), hash: hash(&texts), texts, labels }
}

/// The beginning of the SHA-256 over captions, one a line.
fn hash(captions: &[String]) -> String {
    let mut hash = Sha256::new();
    for caption in captions {
        hash.update(caption);
        hash.update("\n");
    }
    let mut hash = format!("{:x}", hash.finalize());
    hash.truncate(8);
    hash
}

/// One of the recipe's own models, with its name.
fn model(
    loaded: &LoadedRecipe,
    which: &RowModel,
    student: Option<&Path>,
) -> Result<(&'static str, SampledModel), CoreError> {
    let recipe = &loaded.recipe;
    let Some(which) = which.of_run() else {
        let timesteps = weights::student_timesteps(loaded)?;
        return Ok(("model", assemble::untrained(loaded, &recipe.model, timesteps)?.in_types(recipe.dtype)));
    };
    if let (EvaluatedModel::Student, Some(student)) = (which, student) {
        return Ok((which.name(), assemble::sampled(loaded, student)?.in_types(recipe.dtype)));
    }
    let Some(model) = assemble::named(loaded, which)? else {
        return Err(CoreError::Request(format!(
            "evaluation.rows: `objective: {}` has no model {which:?}; expected Stated{}",
            recipe.objective.name(),
            if recipe.objective.trains() { " or Student" } else { "" }
        )));
    };
    Ok((which.name(), model))
}
