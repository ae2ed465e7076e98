//! A model with its text encoder, ready to be sampled.

use add_plugin::{
    Autoencoder, Conditioning, Denoiser, LatentInfo, Latents, Pixels, Purpose, Sampler, SamplerContext,
    TextNetwork, Timesteps,
};
use add_train::{
    noise::normal,
    process::{Process, guided},
};
use burn::tensor::{Tensor, TensorData};

use crate::{
    Dimensions, Dtypes, Recipe,
    beginning::{Beginning, Kept},
    in_bf16,
    prompts::Prompts,
};

/// A frozen model with its text encoder, on the plain device.
#[derive(Debug)]
pub struct SampledModel {
    /// Its network.
    pub denoiser: Box<dyn Denoiser>,
    /// Its text encoder.
    pub text: Box<dyn TextNetwork>,
    /// Its schedule and prediction type.
    pub diffusion: Process,
    /// Timesteps of a distilled student, ascending; empty for a model that knows all.
    pub student_timesteps: Vec<usize>,
}

/// Which pictures to make, and how.
pub struct SampleRequest<'a> {
    /// One caption per picture.
    pub captions: &'a [String],
    /// What guidance leads away from; empty for the plain unconditional caption.
    pub negative: &'a str,
    /// The sampler.
    pub sampler: &'a dyn Sampler,
    /// Denoiser calls.
    pub steps: usize,
    /// Guidance scale; 1, or 0 as turbo models' pages write it, leaves the unconditional half out.
    pub guidance: f64,
    /// Seed of the noise.
    pub seed: u64,
    /// Index of the first picture: pictures of one seed differ by their index, whatever the batches are.
    pub first: u64,
    /// Width and height of the pictures.
    pub size: Dimensions,
    /// What is there before the first step.
    pub beginning: Beginning,
}

/// Pixels per pass, those of 32 small pictures; more would not be faster on a CPU and would need more memory.
const PASS: usize = 32 * 32 * 32;

impl SampledModel {
    /// Its networks held and computing in these types: for pictures, not for an export.
    #[must_use]
    pub fn in_types(self, dtypes: Dtypes) -> Self {
        Self {
            denoiser: in_bf16::frozen_denoiser(self.denoiser, dtypes.model),
            text: in_bf16::frozen_text(self.text, dtypes.text),
            ..self
        }
    }

    /// Pictures `[N, 3, H, W]`, one per caption; none without a caption. Each depends on the seed and its own index alone.
    pub fn generate(&self, recipe: &Recipe, codec: &dyn Autoencoder, request: &SampleRequest<'_>) -> Pixels {
        self.generate_both(recipe, codec, request).0
    }

    /// The same with the clean latents `[N, C, h, w]` from which they are decoded.
    pub fn generate_both(
        &self,
        recipe: &Recipe,
        codec: &dyn Autoencoder,
        request: &SampleRequest<'_>,
    ) -> (Pixels, Latents) {
        let Dimensions { width, height } = request.size;
        let info = recipe.codec.info();
        let prompts = Prompts::new(&*self.text, recipe.sampling.long_prompt, request);
        if request.captions.is_empty() {
            let [_, channels, rows, columns] = latents_shape(0, request.size, info);
            let none = |shape: [usize; 4]| {
                Tensor::from_data(TensorData::new(Vec::<f32>::new(), shape), &prompts.device())
            };
            return (Pixels(none([0, 3, height, width])), Latents(none([0, channels, rows, columns])));
        }
        let pass = (PASS / request.size.pixels().max(1)).max(1);
        let mut first = 0;
        let (mut pixels, mut latents) = (Vec::new(), Vec::new());
        for captions in prompts.passes(request.captions, pass) {
            let shape = latents_shape(captions.len(), request.size, info);
            let (conditioning, null) = prompts.encoded(captions);
            let clean = self.latents(request, first, shape, &conditioning, &null);
            first += captions.len();
            latents.push(clean.0.clone());
            let decoded = Pixels(codec.decode(clean).0.clamp(-1.0, 1.0));
            pixels.push(match &request.beginning.mask {
                Some(mask) => mask.over(decoded).0,
                None => decoded.0,
            });
        }
        (Pixels(Tensor::cat(pixels, 0)), Latents(Tensor::cat(latents, 0)))
    }

    /// Latents of this shape, one for each row of `conditioning`, the first of which is caption `at` of the request; `null`
    /// is the empty or negative caption, a batch of one.
    fn latents(
        &self,
        request: &SampleRequest<'_>,
        at: usize,
        shape: [usize; 4],
        conditioning: &Conditioning,
        null: &Conditioning,
    ) -> Latents {
        let batch = shape[0];
        let device = conditioning.tokens.device();
        let first = request.first + at as u64;
        let noise = |step: u64, purpose| normal(request.seed, step, first, purpose, shape, &device);
        let null = null.repeat(batch);
        let scales = vec![guidance_scale(request.guidance); batch];
        let beginning = &request.beginning;
        let start_noise = match &beginning.noise {
            Some(noise) => noise.clone().narrow(0, at, batch),
            None => noise(0, Purpose::SampleNoise),
        };
        let kept = Kept::of(beginning, &start_noise);
        let mut call = |x_t: Tensor<4>, t: &Timesteps| {
            let x_t = match &kept {
                Some(kept) => kept.input(&self.diffusion, x_t, t),
                None => x_t,
            };
            let output =
                guided(&self.diffusion, &*self.denoiser, x_t.clone(), t, conditioning, &null, &scales);
            let estimate = self.diffusion.estimate(output, x_t, t);
            match &kept {
                Some(kept) => kept.estimate(estimate),
                None => estimate,
            }
        };
        let mut fresh = |step: usize| noise(step as u64, Purpose::SampleFresh);
        let mut context = SamplerContext {
            steps: request.steps,
            schedule: &self.diffusion.schedule,
            student_timesteps: &self.student_timesteps,
            noise: start_noise,
            start: beginning.start.repeat(batch),
            fresh_noise: &mut fresh,
        };
        Latents(request.sampler.sample(&mut context, &mut call))
    }
}

/// The guidance scale that is meant: 0 stands for none on the pages of turbo models, and none is 1. Taken as the scale that
/// it is, it would leave the prompt out.
pub fn guidance_scale(said: f64) -> f64 {
    if said == 0.0 { 1.0 } else { said }
}

/// The shape of the latents of `batch` pictures.
pub fn latents_shape(batch: usize, size: Dimensions, latents: LatentInfo) -> [usize; 4] {
    let reduction = latents.reduction.max(1);
    [batch, latents.channels, size.height / reduction, size.width / reduction]
}
