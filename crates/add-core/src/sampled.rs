//! A model with its text encoder, ready to be sampled.

use std::path::Path;

use add_data::{decode_rgb, square, to_planes};
use add_plugin::{Autoencoder, Denoiser, Pixels, Sampler, Start, TextNetwork};
use add_train::{
    model::Diffusion,
    sampling::{SampleRequest, SampledModel},
};
use burn::tensor::{Tensor, TensorData};

use crate::{
    device::device,
    dtype,
    error::CoreError,
    prompts::Prompts,
    recipe::{Dtypes, Recipe},
    validate::{MAX_SAMPLING_STEPS, check_prompt},
};

/// Largest size of an encoded picture, in bytes.
const MAX_PICTURE: u64 = 64 << 20;

/// A frozen model, on the plain device.
#[derive(Debug)]
pub struct Sampled {
    /// Its network.
    pub denoiser: Box<dyn Denoiser>,
    /// Its text encoder.
    pub text: Box<dyn TextNetwork>,
    /// Its schedule and prediction type.
    pub diffusion: Diffusion,
    /// Timesteps of a distilled student, ascending; empty for a model that knows all.
    pub student_timesteps: Vec<usize>,
}

/// Pictures that are wanted.
pub struct Wanted<'a> {
    /// One caption per picture.
    pub captions: &'a [String],
    /// What guidance leads away from; empty for the plain unconditional caption.
    pub negative: &'a str,
    /// The sampler.
    pub sampler: &'a dyn Sampler,
    /// Denoiser calls.
    pub steps: usize,
    /// Guidance scale; 1 is none.
    pub guidance: f64,
    /// Seed of the noise.
    pub seed: u64,
    /// Index of the first picture under that seed.
    pub first: u64,
    /// What is there before the first step; a picture's latents are a batch of one.
    pub start: Start,
}

/// Most pictures of one request.
pub const MAX_PICTURES: usize = 1 << 16;

/// Checks what a person asked for, before anything is made.
///
/// # Errors
/// Says which argument is out of range.
pub fn check_request(
    captions: &[String],
    negative: &str,
    steps: usize,
    guidance: f64,
) -> Result<(), CoreError> {
    let refuse = |problem: String| Err(CoreError::Request(problem));
    if !(1..=MAX_SAMPLING_STEPS).contains(&steps) {
        return refuse(format!("--steps: expected 1 to {MAX_SAMPLING_STEPS}, got {steps}"));
    }
    if !(0.0..=100.0).contains(&guidance) {
        return refuse(format!("--guidance: expected a number from 0 to 100, got {guidance}"));
    }
    if !(1..=MAX_PICTURES).contains(&captions.len()) {
        return refuse(format!("expected 1 to {MAX_PICTURES} pictures, got {}", captions.len()));
    }
    let prompts = captions.iter().map(|caption| ("--prompt", caption.as_str()));
    for (argument, prompt) in prompts.chain([("--negative", negative)]) {
        check_prompt(prompt).map_err(|problem| CoreError::Request(format!("{argument}: {problem}")))?;
    }
    Ok(())
}

/// Pixels per pass, those of 32 small pictures; more would not be faster on a CPU and would need more memory.
const PASS: usize = 32 * 32 * 32;

impl Sampled {
    /// Its networks held and computing in these types: for pictures, not for an export.
    #[must_use]
    pub fn in_types(self, dtypes: Dtypes) -> Self {
        Self {
            denoiser: dtype::frozen_denoiser(self.denoiser, dtypes.model),
            text: dtype::frozen_text(self.text, dtypes.text),
            ..self
        }
    }

    /// Pictures `[N, 3, S, S]`, one per caption. Each depends on the seed and its own index alone.
    pub fn generate(&self, recipe: &Recipe, codec: &dyn Autoencoder, wanted: &Wanted<'_>) -> Pixels {
        let model = SampledModel {
            denoiser: &*self.denoiser,
            diffusion: &self.diffusion,
            codec,
            latents: recipe.codec.info(),
            student_timesteps: &self.student_timesteps,
        };
        assert!(!wanted.captions.is_empty(), "at least one picture is wanted");
        let pass = (PASS / recipe.data.size().pow(2).max(1)).max(1);
        let prompts = Prompts::new(&*self.text, recipe.sampling.long_prompt, wanted);
        let mut first = wanted.first;
        let parts = prompts.passes(wanted.captions, pass).map(|captions| {
            let request = SampleRequest {
                sampler: wanted.sampler,
                steps: wanted.steps,
                guidance: wanted.guidance,
                seed: wanted.seed,
                first,
                size: recipe.data.size(),
                start: match &wanted.start {
                    Start::Noise => Start::Noise,
                    Start::Picture { x_0, strength } => {
                        Start::Picture { x_0: x_0.clone().repeat_dim(0, captions.len()), strength: *strength }
                    }
                },
            };
            first += captions.len() as u64;
            let (conditioning, null) = prompts.encoded(captions);
            model.sample(&request, &conditioning, &null).0
        });
        Pixels(Tensor::cat(parts.collect(), 0).clamp(-1.0, 1.0))
    }
}

/// A picture as what a sampler begins with: its central square at the recipe's size, encoded.
///
/// # Errors
/// When the file is missing or no picture.
pub fn picture_start(
    recipe: &Recipe,
    codec: &dyn Autoencoder,
    path: &Path,
    strength: f64,
) -> Result<Start, CoreError> {
    let bytes = add_files::read(path, MAX_PICTURE).map_err(CoreError::io(path))?;
    let picture =
        decode_rgb(&bytes).map_err(|error| CoreError::Request(format!("{}: {error}", path.display())))?;
    let size = recipe.data.size();
    let planes = TensorData::new(to_planes(&square(&picture, size as u32)), [1, 3, size, size]);
    let pixels = Tensor::from_data(planes, &device(recipe.device)?);
    Ok(Start::Picture { x_0: codec.encode(Pixels(pixels)).0, strength })
}
