//! What `eval` does: makes pictures in every way that the recipe lists, and measures them.

use std::{path::Path, time::Instant};

use add_data::{BadSamples, DataError, Skipped};
use add_eval::{FeatureSet, Row, pixel_std};
use add_plugin::{Dataset, Draw, Labels, Measurement, Pixels, PluginError, Sample, Split, Start};
use add_recipe::{
    Dtypes, EvaluatedModel, EvaluationRow, NamedModel, SampleRequest, SampledModel, data_error,
};
use burn::tensor::{Device, Tensor, TensorData};

use crate::{assemble, device, error::CoreError, read::LoadedRecipe};

/// Pictures per pass through the metrics' networks.
const PASS: usize = 50;
/// Captions, and pictures for each, behind the figure of diversity.
const DIVERSITY: (usize, usize) = (8, 16);
/// The pictures of an evaluation share this seed, so that models are compared on the same noise.
const SEED: u64 = 0x0EAA;

/// What an evaluation tells while it works.
pub trait EvaluationObserver {
    /// `done` of `total` pictures are made; `what` names the row.
    fn progress(&mut self, what: &str, done: usize, total: usize);
}

/// Which rows are measured, on how many pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Every row, on `evaluation.samples` pictures.
    Full,
    /// The rows marked `after_training`, on `evaluation.samples_after_training` pictures.
    AfterTraining,
}

/// Captions of one split, with what they stand for.
struct Captions {
    split: &'static str,
    texts: Vec<String>,
    labels: Vec<Labels>,
}

/// Measures the student in the file `student`, and the models that the recipe compares it with.
///
/// # Errors
/// When a model or the data cannot be had.
pub fn evaluate(
    loaded: &LoadedRecipe,
    student: &Path,
    extent: Extent,
    observer: &mut dyn EvaluationObserver,
) -> Result<Vec<Row>, CoreError> {
    let recipe = &loaded.recipe;
    let device = device::device(recipe.device)?;
    let mut measurements = Vec::new();
    for metric in &recipe.evaluation.metrics {
        measurements.push(metric.init(&device)?);
    }
    let train = loaded.data(Split::Train)?;
    if train.is_empty() {
        return Err(data_error(DataError::Empty).into());
    }
    reference(&*train, &device, &mut measurements, observer)?;
    let (samples, splits) = match extent {
        Extent::Full => (recipe.evaluation.samples, vec![("train", train), ("held-out", held_out(loaded)?)]),
        Extent::AfterTraining => (recipe.evaluation.samples_after_training, vec![("train", train)]),
    };
    let captions: Vec<Captions> =
        // A folder may have no held-out pictures.
        splits
            .iter()
            .filter(|(_, data)| !data.is_empty())
            .map(|(name, data)| captions(name, &**data, samples))
            .collect();
    let mut rows = Vec::new();
    for row in &recipe.evaluation.rows {
        if extent == Extent::AfterTraining && !row.after_training {
            continue;
        }
        let (name, model) = model(loaded, row.model, student)?;
        for captions in &captions {
            rows.extend(measure(loaded, name, &model, row, captions, &device, &mut measurements, observer)?);
        }
        rows.push(diversity(loaded, name, &model, row, &captions[0])?);
    }
    Ok(rows)
}

/// All training pictures go through every metric once.
fn reference(
    train: &dyn Dataset,
    device: &Device,
    measurements: &mut [Box<dyn Measurement>],
    observer: &mut dyn EvaluationObserver,
) -> Result<(), CoreError> {
    let all: Vec<usize> = (0..train.len()).collect();
    let mut bad = BadSamples::of(train.len());
    for part in all.chunks(PASS) {
        let draw = Draw { seed: SEED, step: 0, index: 0 };
        let samples = usable(train, part, &draw, &mut bad)?;
        let Some(size) = samples.first().map(|sample| sample.size) else { continue };
        let shape = [samples.len(), 3, size, size];
        let values: Vec<f32> = samples.into_iter().flat_map(|s| s.pixels).collect();
        let pictures = Pixels(Tensor::from_data(TensorData::new(values, shape), device));
        for measurement in measurements.iter_mut() {
            measurement.add_reference(&pictures);
        }
        observer.progress("training pictures", part[0] + part.len(), train.len());
    }
    Ok(())
}

/// The samples at `indices` without those that cannot be used, which are counted in `bad`.
fn usable(
    data: &dyn Dataset,
    indices: &[usize],
    draw: &Draw,
    bad: &mut BadSamples,
) -> Result<Vec<Sample>, CoreError> {
    let mut samples = Vec::new();
    for &index in indices {
        match data.get(index, draw) {
            Ok(sample) => samples.push(sample),
            Err(PluginError::Sample { index, file, problem: reason }) => {
                bad.count(&[Skipped { index, file, reason }]).map_err(data_error)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(samples)
}

/// The two held-out splits, one after the other.
fn held_out(loaded: &LoadedRecipe) -> Result<Box<dyn Dataset>, CoreError> {
    Ok(Box::new(Joined(loaded.data(Split::TestPair)?, loaded.data(Split::TestConcept)?)))
}

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
fn captions(split: &'static str, data: &dyn Dataset, n: usize) -> Captions {
    let len = data.len();
    let index = |i: usize| if n <= len { i * len / n } else { i % len };
    Captions {
        split,
        texts: (0..n).map(|i| data.caption(index(i))).collect(),
        labels: (0..n).map(|i| data.labels(index(i))).collect(),
    }
}

fn model(
    loaded: &LoadedRecipe,
    which: EvaluatedModel,
    student: &Path,
) -> Result<(&'static str, SampledModel), CoreError> {
    let recipe = &loaded.recipe;
    if which == EvaluatedModel::Student {
        return Ok((which.name(), assemble::sampled(loaded, student)?.in_types(recipe.dtype)));
    }
    let named = recipe.objective.models(recipe).into_iter().find(|model| model.name == which);
    let Some(NamedModel { model, student_timesteps, dtype, .. }) = named else {
        return Err(CoreError::Request(format!(
            "evaluation.rows: `objective: {}` has no model {which:?}; expected Student",
            recipe.objective.name()
        )));
    };
    let model = assemble::untrained(loaded, model, student_timesteps)?;
    Ok((which.name(), model.in_types(Dtypes { model: dtype, ..recipe.dtype })))
}

#[expect(clippy::too_many_arguments, reason = "a private step of `evaluate`, which holds all of these")]
fn measure(
    loaded: &LoadedRecipe,
    name: &str,
    model: &SampledModel,
    row: &EvaluationRow,
    captions: &Captions,
    device: &Device,
    measurements: &mut [Box<dyn Measurement>],
    observer: &mut dyn EvaluationObserver,
) -> Result<Vec<Row>, CoreError> {
    let recipe = &loaded.recipe;
    let codec = assemble::codec(recipe, device)?;
    let total = captions.texts.len();
    let mut seconds = 0.0;
    for (i, part) in captions.texts.chunks(PASS).enumerate() {
        let began = Instant::now();
        let first = i * PASS;
        let wanted = SampleRequest {
            captions: part,
            negative: "",
            sampler: &*row.sampler,
            steps: row.steps,
            guidance: row.guidance,
            seed: SEED,
            first: first as u64,
            start: Start::Noise,
        };
        let pictures = model.generate(recipe, &*codec, &wanted);
        seconds += began.elapsed().as_secs_f64();
        for measurement in measurements.iter_mut() {
            measurement.add_generated(&pictures, &captions.labels[first..first + part.len()]);
        }
        let what = format!("{name}, {} steps, {}", row.steps, captions.split);
        observer.progress(&what, first + part.len(), total);
    }
    let mut rows = Vec::new();
    for measurement in measurements.iter_mut() {
        for value in measurement.finish()? {
            rows.push(Row {
                model: name.to_owned(),
                steps: row.steps as u32,
                sampler: row.sampler.name().to_owned(),
                guidance: row.guidance,
                split: captions.split.to_owned(),
                metric: value.name,
                value: value.value,
                n: value.n as u64,
                seconds_per_image: Some(seconds / total.max(1) as f64),
            });
        }
    }
    Ok(rows)
}

/// Pixel standard deviation over noise for one caption, in `[-1, 1]` units, averaged over a few captions.
fn diversity(
    loaded: &LoadedRecipe,
    name: &str,
    model: &SampledModel,
    row: &EvaluationRow,
    captions: &Captions,
) -> Result<Row, CoreError> {
    let recipe = &loaded.recipe;
    let codec = assemble::codec(recipe, &device::device(recipe.device)?)?;
    let (prompts, pictures) = DIVERSITY;
    let spread = captions.texts.len() / prompts;
    let mut sum = 0.0;
    for prompt in 0..prompts {
        let caption = vec![captions.texts[prompt * spread].clone(); pictures];
        let wanted = SampleRequest {
            captions: &caption,
            negative: "",
            sampler: &*row.sampler,
            steps: row.steps,
            guidance: row.guidance,
            seed: SEED,
            first: (prompt * pictures) as u64,
            start: Start::Noise,
        };
        let made: Vec<f32> = model.generate(recipe, &*codec, &wanted).0.into_data().iter::<f32>().collect();
        let failed = |e: add_eval::EvalError| CoreError::Request(e.to_string());
        let set = FeatureSet::from_f32(made.len() / pictures, &made).map_err(failed)?;
        sum += pixel_std(&set).map_err(failed)?;
    }
    Ok(Row {
        model: name.to_owned(),
        steps: row.steps as u32,
        sampler: row.sampler.name().to_owned(),
        guidance: row.guidance,
        split: captions.split.to_owned(),
        metric: add_eval::names::DIVERSITY.to_owned(),
        value: sum / prompts as f64,
        n: (prompts * pictures) as u64,
        seconds_per_image: None,
    })
}
