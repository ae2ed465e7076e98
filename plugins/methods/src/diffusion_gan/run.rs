//! A run of a diffusion GAN: batches, timesteps and noise drawn from the seed.

use std::path::Path;

use add_data::Feed;
use add_plugin::{Draw, Latents, Purpose, Timesteps};
use add_recipe::{
    Encodings, MethodRun, Product, Recipe, RunContext, SampledModel, data_error, preview,
    slot::{CODEC, STUDENT, TEXT},
};
use add_train::{
    TrainError, networks::NetworkSet, noise::normal_of, replicas::BatchPart, report::StepReport,
    run::Objective,
};
use burn::tensor::Device;

use super::{
    DiffusionGan,
    step::{Inputs, Trainer},
};
use crate::student::{End, StudentInput, draw_timestep};

/// A diffusion GAN of a recipe's model.
pub(super) struct DiffusionGanRun<'a> {
    recipe: &'a Recipe,
    method: &'a DiffusionGan,
    trainer: Trainer,
    feed: Feed,
    latents: Encodings,
    captions: Encodings,
    device: Device,
}

impl<'a> DiffusionGanRun<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        method: &'a DiffusionGan,
        networks: NetworkSet,
        context: RunContext,
    ) -> Self {
        let RunContext { feed, replicas, device } = context;
        let timesteps = method.timesteps(recipe);
        let latents = Encodings::of_codec(recipe, &recipe.codec, networks.codec(CODEC), &device);
        let captions = Encodings::of_text(recipe, &recipe.text, networks.text(TEXT), &device);
        let last_timestep = timesteps.last().copied().unwrap_or_default();
        let trainer = Trainer {
            networks,
            diffusion: recipe.model.diffusion(recipe.codec.info()),
            timesteps,
            end: End { last_timestep, terminal: method.terminal },
            reconstruction: method.reconstruction,
            blocks: method.discriminator.blocks.clone(),
            replicas,
        };
        Self { recipe, method, trainer, feed, latents, captions, device }
    }

    /// The averaged student.
    fn averaged(&self) -> SampledModel {
        let networks = &self.trainer.networks;
        SampledModel {
            denoiser: networks.averaged_denoiser(STUDENT),
            text: networks.text(TEXT).frozen(),
            diffusion: self.trainer.diffusion.clone(),
            student_timesteps: self.trainer.timesteps.clone(),
        }
    }

    /// A part of the batch, of which `first` is the first sample's number in the whole run.
    fn part(&self, step: u64, first: u64, x_0: Latents, captions: &[String]) -> Inputs {
        let (seed, shape) = (self.recipe.seed, x_0.0.dims());
        let draws: Vec<Draw> = (0..shape[0] as u64).map(|i| Draw { seed, step, index: first + i }).collect();
        let noise = |purpose| normal_of(&draws, purpose, shape, &self.device);
        let (known, weights) = (&self.trainer.timesteps, &self.method.timestep_weights);
        let s = draws.iter().map(|draw| draw_timestep(known, weights, draw, Purpose::StudentTimestep));
        Inputs {
            captions: self.captions.captions(self.trainer.networks.text(TEXT), captions),
            student: StudentInput { s: Timesteps::whole(s), eps: noise(Purpose::StudentNoise) },
            eps_real: noise(Purpose::CriticRealNoise),
            eps_fake: noise(Purpose::CriticFakeNoise),
            x_0,
        }
    }
}

impl Objective for DiffusionGanRun<'_> {
    fn step(&mut self, step: u64) -> Result<StepReport, TrainError> {
        let batch = self.feed.batch(step).map_err(data_error)?;
        let Recipe { batch: whole, run, .. } = self.recipe;
        let codec = self.trainer.networks.codec(CODEC);
        let x_0 = self.latents.latents(codec, &batch.pixels(&self.device)).0;
        let part = |BatchPart { samples, loaded }| {
            let x_0 = Latents(x_0.clone().slice([loaded.clone()]));
            self.part(step, step * *whole as u64 + samples.start as u64, x_0, &batch.captions[loaded])
        };
        let parts = self.trainer.replicas.parts(*whole).map(part).collect();
        let lr_g = self.method.generator.lr_at(step, run.steps);
        let lr_d = self.method.discriminator.optimizer.lr_at(step, run.steps);
        let mut report = self.trainer.step(parts, lr_g, lr_d);
        report.number("lr_g", lr_g);
        report.number("lr_d", lr_d);
        Ok(report)
    }

    fn networks(&mut self) -> &mut NetworkSet {
        &mut self.trainer.networks
    }

    fn preview(&mut self, path: &Path) -> Result<(), TrainError> {
        preview::student(path, self.recipe, &self.averaged(), self.trainer.networks.codec(CODEC), 1.0)
    }

    fn device(&self) -> Device {
        self.device.clone()
    }
}

impl MethodRun for DiffusionGanRun<'_> {
    fn product(&self) -> Product {
        Product::model(self.recipe, self.averaged())
    }
}
