//! A recipe's step without its files: networks of drawn values on pictures of noise, to learn what it takes.

use std::{rc::Rc, sync::Arc, time::Instant};

use add_data::Loader;
use add_plugin::{Dataset, Draw, PluginError, Purpose, Sample, is_adapter};
use add_recipe::{Beginning, Dimensions, SampleRequest, data_error, in_bf16, slot::ADAPTERS};
use add_train::{TrainError, networks::Role, ranks::Alone};

use crate::{
    assemble::{self, Values, run_with},
    device::{self, Account},
    error::CoreError,
    outline::outline,
    read::LoadedRecipe,
    train::check_trains,
};

/// Every network of a recipe as it is assembled, with drawn values: its role and the number of its values. Adapters are
/// counted apart, as a plan does.
///
/// # Errors
/// When the recipe's device cannot be had, or its networks do not fit together.
pub fn networks(loaded: &LoadedRecipe) -> Result<Vec<(Role, usize)>, CoreError> {
    let recipe = &loaded.recipe;
    let slots = recipe.objective.networks(recipe);
    let set = assemble::networks(loaded, &slots, Values::Drawn, &device::of(recipe)?, None)?;
    let mut all = Vec::new();
    for role in set.roles() {
        let (mut own, mut adapters) = (0, 0);
        let network = set.get(role).expect("a role of the set").network();
        network.for_each_shape(&mut |path, shape| {
            let count = if is_adapter(path) { &mut adapters } else { &mut own };
            *count += shape.iter().product::<usize>();
        });
        all.extend([(role, own), (ADAPTERS, adapters)].into_iter().filter(|(_, values)| *values > 0));
    }
    Ok(all)
}

/// Refuses a plan that counts other networks than are assembled.
///
/// # Errors
/// Names both lists where they differ.
pub fn check_networks(loaded: &LoadedRecipe) -> Result<(), CoreError> {
    let planned: Vec<(Role, usize)> =
        outline(loaded)?.iter().map(|network| (network.role, network.parameters())).collect();
    let assembled = networks(loaded)?;
    if planned == assembled {
        return Ok(());
    }
    Err(CoreError::Request(format!(
        "plan: the planned networks are not those that are assembled; expected {assembled:?}, planned {planned:?}"
    )))
}

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

/// What the steps of a rehearsal took.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsed {
    /// Seconds of the first step, with everything that is compiled or tuned on the way.
    pub first: f64,
    /// Seconds of each step after it, on average.
    pub each: f64,
    /// What one more step asks of the recipe's device; `None` where that is the processor.
    pub account: Option<Account>,
}

/// A recipe's training steps with drawn values: a first one and `steps` after it, which are timed, and on a GPU one more, which
/// is observed.
///
/// # Errors
/// When the recipe trains nothing, its device cannot be had, or a step fails or is not finite.
pub fn train(loaded: &LoadedRecipe, steps: u64) -> Result<Rehearsed, CoreError> {
    let recipe = &loaded.recipe;
    check_trains(recipe)?;
    let noise = Noise { size: recipe.data.size() };
    let loader = Loader::new(Arc::new(noise), recipe.seed, recipe.batch).map_err(data_error)?;
    let mut run = run_with(loaded, Values::Drawn, loader, Rc::new(Alone))?;
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
    let each = began.elapsed().as_secs_f64() / steps.max(1) as f64;
    let observed = device::observe(recipe.device, || finite_step(steps + 1))?;
    let account = observed.map(|(finite, account)| finite.map(|()| account)).transpose()?;
    Ok(Rehearsed { first, each, account })
}

/// Seconds from a caption to its picture with drawn values: of the first picture, with everything that is compiled or tuned on
/// the way, and of a later one. Text encoder, denoiser and decoder together.
///
/// # Errors
/// When the recipe's device cannot be had, or its networks do not fit together.
pub fn sample(loaded: &LoadedRecipe) -> Result<(f64, f64), CoreError> {
    let recipe = &loaded.recipe;
    let device = device::of(recipe)?;
    let model = assemble::drawn(recipe, &device)?.in_types(recipe.dtype);
    let codec = &*in_bf16::frozen_codec(recipe.codec.outline(&device)?, recipe.dtype.codec);
    let picture = |seed: u64| {
        let wanted = SampleRequest {
            captions: &["a picture of noise".to_owned()],
            negative: "",
            sampler: &*recipe.sampling.sampler,
            steps: 1,
            guidance: 1.0,
            seed,
            first: 0,
            size: Dimensions::square(recipe.data.size()),
            beginning: Beginning::default(),
        };
        let began = Instant::now();
        // Reading the pixels waits for the device.
        drop(model.generate(recipe, codec, &wanted).0.into_data());
        began.elapsed().as_secs_f64()
    };
    let first = picture(0);
    Ok((first, (picture(1) + picture(2) + picture(3)) / 3.0))
}
