//! A model with its text encoder, ready to be sampled.

use std::ops::ControlFlow;

use add_plugin::{
    Autoencoder, Conditioning, Denoiser, Draw, Estimate, LatentInfo, Latents, Pixels, Purpose, Sampler,
    SamplerContext, Start, TextNetwork, Timesteps,
};
use add_train::{
    noise::normal_of,
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
pub const PIXELS_PER_PASS: usize = 32 * 32 * 32;

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
        let pass = (PIXELS_PER_PASS / size.pow(2).max(1)).max(1);
        let mut next = request.first;
        let parts = prompts.passes(request.captions, pass).map(|captions| {
            let draws = (next..).take(captions.len()).map(|index| (request.seed, index)).collect();
            next += captions.len() as u64;
            let (conditioning, null) = prompts.encoded(captions);
            let batch = SampleBatch {
                sampler: request.sampler,
                steps: request.steps,
                guidance: request.guidance,
                size: [size; 2],
                conditioning,
                null: null.repeat(captions.len()),
                draws,
                start: request.start.repeat(captions.len()),
            };
            let latents = self.sample(recipe.codec.info(), &batch, &mut |_, _, _| ControlFlow::Continue(()));
            codec.decode(latents.expect("nobody breaks off")).0
        });
        Pixels(Tensor::cat(parts.collect(), 0).clamp(-1.0, 1.0))
    }

    /// Latents of a batch. Each depends on its own row alone, whatever the others are.
    ///
    /// `watch` is told of each call of the denoiser: its number from 0, how many there are, and the estimate of the clean
    /// latents `[B, C, H, W]`. Where it breaks off, the rest is gone through without the network and nothing is returned.
    pub fn sample(
        &self,
        latents: LatentInfo,
        batch: &SampleBatch<'_>,
        watch: &mut dyn FnMut(usize, usize, &Tensor<4>) -> ControlFlow<()>,
    ) -> Option<Latents> {
        let rows = batch.draws.len();
        let shape = latents_shape(rows, batch.size, latents);
        let device = batch.conditioning.tokens.device();
        let noise = |step: u64, purpose| {
            let draws = batch.draws.iter().map(|&(seed, index)| Draw { seed, step, index });
            normal_of(&draws.collect::<Vec<_>>(), purpose, shape, &device)
        };
        let scales = vec![batch.guidance; rows];
        let mut fresh = |step: usize| noise(step as u64, Purpose::SampleFresh);
        let mut context = SamplerContext {
            steps: batch.steps,
            schedule: &self.diffusion.schedule,
            student_timesteps: &self.student_timesteps,
            noise: noise(0, Purpose::SampleNoise),
            start: batch.start.clone(),
            fresh_noise: &mut fresh,
        };
        let calls = batch.sampler.timesteps(&context).len();
        let (mut done, mut wanted) = (0, true);
        let mut call = |x_t: Tensor<4>, t: &Timesteps| {
            if !wanted {
                return Estimate { x0: x_t.clone(), epsilon: x_t };
            }
            let (conditioning, null) = (&batch.conditioning, &batch.null);
            let output =
                guided(&self.diffusion, &*self.denoiser, x_t.clone(), t, conditioning, null, &scales);
            let estimate = self.diffusion.estimate(output, x_t, t);
            wanted = watch(done, calls, &estimate.x0).is_continue();
            done += 1;
            estimate
        };
        let made = batch.sampler.sample(&mut context, &mut call);
        wanted.then_some(Latents(made))
    }
}

/// Pictures that are sampled together.
pub struct SampleBatch<'a> {
    /// The sampler.
    pub sampler: &'a dyn Sampler,
    /// Denoiser calls.
    pub steps: usize,
    /// Guidance scale; 1 leaves the unconditional half out.
    pub guidance: f64,
    /// Height and width of the pictures, in pixels.
    pub size: [usize; 2],
    /// What each is told.
    pub conditioning: Conditioning,
    /// What guidance leads each away from; not looked at without guidance.
    pub null: Conditioning,
    /// Seed and index of each, from which its noise follows.
    pub draws: Vec<(u64, u64)>,
    /// What is there before the first step, for each.
    pub start: Start,
}

/// The shape of the latents of `batch` pictures of this height and width.
fn latents_shape(batch: usize, [height, width]: [usize; 2], latents: LatentInfo) -> [usize; 4] {
    [batch, latents.channels, height / latents.reduction, width / latents.reduction]
}
