//! From captions to pictures, with any sampler, with or without guidance.

use add_plugin::{
    Autoencoder, Conditioning, Denoiser, Draw, LatentInfo, Latents, Pixels, Purpose, Sampler, SamplerContext,
    Start, Timesteps,
};
use burn::tensor::{Device, Tensor, TensorData};

use crate::model::{Diffusion, guided};

/// A model that can be sampled, on the plain device.
pub struct SampledModel<'a> {
    /// Its network.
    pub denoiser: &'a dyn Denoiser,
    /// Its schedule and prediction type.
    pub diffusion: &'a Diffusion,
    /// Latents to pixels.
    pub codec: &'a dyn Autoencoder,
    /// Shape of the latents.
    pub latents: LatentInfo,
    /// Timesteps of a distilled student, ascending; empty for a model that knows all.
    pub student_timesteps: &'a [usize],
}

/// What is sampled, and how.
pub struct SampleRequest<'a> {
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
    /// Side of the pictures in pixels.
    pub size: usize,
    /// What is there before the first step; a picture's latents have the batch of the conditioning.
    pub start: Start,
}

impl SampledModel<'_> {
    /// One picture for each row of `conditioning`; `null` is the empty or negative caption, a batch of one.
    pub fn sample(
        &self,
        request: &SampleRequest<'_>,
        conditioning: &Conditioning,
        null: &Conditioning,
    ) -> Pixels {
        let batch = conditioning.batch();
        let device = conditioning.tokens.device();
        let side = request.size / self.latents.reduction;
        let shape = [batch, self.latents.channels, side, side];
        let noise = |step: u64, purpose| normal(request.seed, step, request.first, purpose, shape, &device);
        let null = null.repeat(batch);
        let scales = vec![request.guidance; batch];
        let mut call = |x_t: Tensor<4>, t: &Timesteps| {
            let output =
                guided(self.diffusion, self.denoiser, x_t.clone(), t, conditioning, &null, &scales);
            self.diffusion.estimate(output, x_t, t)
        };
        let mut fresh = |step: usize| noise(step as u64, Purpose::SampleFresh);
        let mut context = SamplerContext {
            steps: request.steps,
            schedule: &self.diffusion.schedule,
            student_timesteps: self.student_timesteps,
            noise: noise(0, Purpose::SampleNoise),
            start: request.start.clone(),
            fresh_noise: &mut fresh,
        };
        let latents = request.sampler.sample(&mut context, &mut call);
        self.codec.decode(Latents(latents))
    }
}

/// Standard normal noise; row `b` depends on its global index `first + b` alone, not on the batch around it.
pub fn normal(
    seed: u64,
    step: u64,
    first: u64,
    purpose: Purpose,
    shape: [usize; 4],
    device: &Device,
) -> Tensor<4> {
    let [batch, c, h, w] = shape;
    let rows =
        (0..batch as u64).flat_map(|b| Draw { seed, step, index: first + b }.normal(purpose, c * h * w));
    Tensor::from_data(TensorData::new(rows.collect::<Vec<f32>>(), shape), device)
}
