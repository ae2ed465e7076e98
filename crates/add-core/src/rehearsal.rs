//! A recipe's step without its files: networks of drawn values on pictures of noise, to learn what it takes.

use std::{rc::Rc, sync::Arc, time::Instant};

use add_data::Loader;
use add_plugin::{Dataset, Draw, PluginError, Purpose, Sample, Start};
use add_train::{TrainError, ranks::Alone, run::Objective as _};

use crate::{
    assemble::{self, Values, add_run_with, diffusion},
    device::device,
    dtype,
    error::CoreError,
    read::LoadedRecipe,
    recipe::Objective,
    sampled::{SampleRequest, SampledModel},
};

/// Pictures of noise, drawn when they are asked for.
struct Noise {
    size: usize,
}

/// More than any batch of a rehearsal, so that no picture comes twice in one.
const PICTURES: usize = 1 << 16;

impl Dataset for Noise {
    fn len(&self) -> usize {
        PICTURES
    }

    fn get(&self, index: usize, draw: &Draw) -> Result<Sample, PluginError> {
        let values = draw.normal(Purpose::Sample, 3 * self.size * self.size);
        let pixels = values.into_iter().map(|x| x.clamp(-1.0, 1.0)).collect();
        Ok(Sample { pixels, size: self.size, caption: self.caption(index) })
    }

    fn caption(&self, index: usize) -> String {
        format!("picture {index} of noise")
    }
}

/// Seconds of a distillation recipe's steps with drawn values: of the first, and of each of the `steps` after it on
/// average.
///
/// # Errors
/// When the recipe is of another kind, its device cannot be had, or a step fails or is not finite.
pub fn train(loaded: &LoadedRecipe, steps: u64) -> Result<(f64, f64), CoreError> {
    let recipe = &loaded.recipe;
    let Objective::Add(objective) = &recipe.objective else {
        return Err(CoreError::Request(format!("{}: expected a recipe with `objective: Add`", recipe.name)));
    };
    let noise = Noise { size: recipe.data.size() };
    let loader = Loader::new(Arc::new(noise), recipe.seed, recipe.batch).map_err(crate::data_error)?;
    let mut run = add_run_with(loaded, objective, Values::Drawn, loader, Rc::new(Alone))?;
    let began = Instant::now();
    // A step reads its losses, so it has ended when it returns.
    let mut finite_step = |step| match run.step(step)?.non_finite() {
        None => Ok(()),
        Some(what) => Err(TrainError::NonFinite { step, what, times: 1 }),
    };
    finite_step(0)?;
    let first = began.elapsed().as_secs_f64();
    let began = Instant::now();
    for step in 1..=steps {
        finite_step(step)?;
    }
    Ok((first, began.elapsed().as_secs_f64() / steps.max(1) as f64))
}

/// Seconds from a caption to its picture with drawn values, after a first one that is not counted; text encoder, denoiser
/// and decoder together.
///
/// # Errors
/// When the recipe's device cannot be had, or its networks do not fit together.
pub fn sample(loaded: &LoadedRecipe) -> Result<f64, CoreError> {
    let recipe = &loaded.recipe;
    let device = device(recipe.device)?;
    let (denoiser, text) = assemble::drawn_model(recipe, &recipe.model, &device)?;
    let codec = &*dtype::frozen_codec(recipe.codec.outline(&device)?, recipe.dtype.codec);
    let diffusion = diffusion(&recipe.model);
    let student_timesteps = vec![diffusion.schedule.steps() - 1];
    let model = SampledModel { denoiser, text, diffusion, student_timesteps }.in_types(recipe.dtype);
    let picture = |seed: u64| {
        let wanted = SampleRequest {
            captions: &["a picture of noise".to_owned()],
            negative: "",
            sampler: &*recipe.sampling.sampler,
            steps: 1,
            guidance: 1.0,
            seed,
            first: 0,
            size: recipe.data.size(),
            start: Start::Noise,
        };
        let began = Instant::now();
        // Reading the pixels waits for the device.
        drop(model.generate(recipe, codec, &wanted).0.into_data());
        began.elapsed().as_secs_f64()
    };
    picture(0);
    Ok((picture(1) + picture(2) + picture(3)) / 3.0)
}
