//! A model with its text encoder, ready to be sampled.

use add_plugin::{
    Autoencoder, Conditioning, Denoiser, LatentInfo, Latents, Pixels, Purpose, Sampler, SamplerContext,
    Start, TextNetwork, Timesteps,
};
use add_train::{
    noise::normal,
    process::{Process, guided},
};
use burn::tensor::{Tensor, TensorData};

use crate::{Dtypes, Recipe, in_bf16, prompts::Prompts};

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
    /// Guidance scale; 1 leaves the unconditional half out.
    pub guidance: f64,
    /// Seed of the noise.
    pub seed: u64,
    /// Index of the first picture: pictures of one seed differ by their index, whatever the batches are.
    pub first: u64,
    /// Side of the pictures, in pixels.
    pub size: usize,
    /// What is there before the first step; a picture's latents are a batch of one.
    pub start: Start,
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

    /// Pictures `[N, 3, S, S]`, one per caption; none without a caption. Each depends on the seed and its own index alone.
    pub fn generate(&self, recipe: &Recipe, codec: &dyn Autoencoder, request: &SampleRequest<'_>) -> Pixels {
        let size = request.size;
        let prompts = Prompts::new(&*self.text, recipe.sampling.long_prompt, request);
        if request.captions.is_empty() {
            let none = TensorData::new(Vec::<f32>::new(), [0, 3, size, size]);
            return Pixels(Tensor::from_data(none, &prompts.device()));
        }
        let pass = (PASS / size.pow(2).max(1)).max(1);
        let mut next = request.first;
        let parts = prompts.passes(request.captions, pass).map(|captions| {
            let first = next;
            next += captions.len() as u64;
            let shape = latents_shape(captions.len(), size, recipe.codec.info());
            let (conditioning, null) = prompts.encoded(captions);
            codec.decode(self.latents(request, first, shape, &conditioning, &null)).0
        });
        Pixels(Tensor::cat(parts.collect(), 0).clamp(-1.0, 1.0))
    }

    /// Latents of this shape, one for each row of `conditioning`; `null` is the empty or negative caption, a batch of one.
    fn latents(
        &self,
        request: &SampleRequest<'_>,
        first: u64,
        shape: [usize; 4],
        conditioning: &Conditioning,
        null: &Conditioning,
    ) -> Latents {
        let batch = shape[0];
        let device = conditioning.tokens.device();
        let noise = |step: u64, purpose| normal(request.seed, step, first, purpose, shape, &device);
        let null = null.repeat(batch);
        let scales = vec![request.guidance; batch];
        let mut call = |x_t: Tensor<4>, t: &Timesteps| {
            let output =
                guided(&self.diffusion, &*self.denoiser, x_t.clone(), t, conditioning, &null, &scales);
            self.diffusion.estimate(output, x_t, t)
        };
        let mut fresh = |step: usize| noise(step as u64, Purpose::SampleFresh);
        let mut context = SamplerContext {
            steps: request.steps,
            schedule: &self.diffusion.schedule,
            student_timesteps: &self.student_timesteps,
            noise: noise(0, Purpose::SampleNoise),
            start: request.start.repeat(batch),
            fresh_noise: &mut fresh,
        };
        Latents(request.sampler.sample(&mut context, &mut call))
    }
}

/// The shape of the latents of `batch` square pictures.
fn latents_shape(batch: usize, size: usize, latents: LatentInfo) -> [usize; 4] {
    let side = size / latents.reduction;
    [batch, latents.channels, side, side]
}
