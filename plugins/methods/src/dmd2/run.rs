//! A run of distribution matching distillation: batches, timesteps and noise drawn from the seed.

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
    Dmd2, Gan,
    step::{Inputs, Options, Trainer},
};
use crate::{
    critic::{CriticLevels, Level},
    student::{End, Simulation, StudentInput, draw_timestep},
};

/// A distribution matching distillation of a recipe's model.
pub(super) struct Dmd2Run<'a> {
    recipe: &'a Recipe,
    method: &'a Dmd2,
    trainer: Trainer,
    feed: Feed,
    latents: Encodings,
    captions: Encodings,
    timesteps: Vec<usize>,
    device: Device,
}

impl<'a> Dmd2Run<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        method: &'a Dmd2,
        networks: NetworkSet,
        context: RunContext,
    ) -> Self {
        let RunContext { feed, replicas, device } = context;
        let timesteps = method.timesteps(recipe);
        let latents = Encodings::of_codec(recipe, &recipe.codec, networks.codec(CODEC), &device);
        let captions = Encodings::of_text(recipe, &recipe.text, networks.text(TEXT), &device);
        let null = captions.captions(networks.text(TEXT), &[String::new()]);
        let gan = method.gan.as_ref();
        let trainer = Trainer {
            networks,
            diffusion: recipe.model.diffusion(recipe.codec.info()),
            teacher_diffusion: method.teacher.model(recipe).diffusion(recipe.codec.info()),
            null,
            blocks: gan.map(|gan| gan.blocks.clone()).unwrap_or_default(),
            options: Options {
                end: End {
                    last_timestep: timesteps.last().copied().unwrap_or_default(),
                    terminal: method.terminal,
                },
                weight: gan.map_or(0.0, |gan| gan.weight),
                discriminator_weight: gan.map_or(0.0, |gan| gan.discriminator_weight),
            },
            replicas,
        };
        Self { recipe, method, trainer, feed, latents, captions, timesteps, device }
    }

    /// The averaged student.
    fn averaged(&self) -> SampledModel {
        let networks = &self.trainer.networks;
        SampledModel {
            denoiser: networks.averaged_denoiser(STUDENT),
            text: networks.text(TEXT).frozen(),
            diffusion: self.trainer.diffusion.clone(),
            student_timesteps: self.timesteps.clone(),
        }
    }

    /// A part of the batch, of which `first` is the first sample's number in the whole run.
    fn part(&self, step: u64, first: u64, x_0: Latents, captions: &[String]) -> Inputs {
        let (seed, shape) = (self.recipe.seed, x_0.0.dims());
        let draws: Vec<Draw> = (0..shape[0] as u64).map(|i| Draw { seed, step, index: first + i }).collect();
        let level = |(low, high): (usize, usize), at, eps| Level {
            t: Timesteps::whole(draws.iter().map(|draw| low + draw.below(at, high - low + 1))),
            eps: normal_of(&draws, eps, shape, &self.device),
        };
        let Dmd2 { timestep_weights, backward_simulation, .. } = self.method;
        let s = draws
            .iter()
            .map(|draw| draw_timestep(&self.timesteps, timestep_weights, draw, Purpose::StudentTimestep));
        let student = StudentInput {
            s: Timesteps::whole(s),
            eps: normal_of(&draws, Purpose::StudentNoise, shape, &self.device),
        };
        let all = (0, self.trainer.teacher_diffusion.schedule.steps() - 1);
        let levels = |gan: &Gan| CriticLevels {
            fake: level(gan.timesteps, Purpose::CriticFakeLevel, Purpose::CriticFakeNoise),
            real: level(gan.timesteps, Purpose::CriticRealLevel, Purpose::CriticRealNoise),
        };
        Inputs {
            captions: self.captions.captions(self.trainer.networks.text(TEXT), captions),
            simulation: Simulation::drawn(
                &self.timesteps,
                *backward_simulation,
                &draws,
                &student.s,
                shape,
                &self.device,
            ),
            student,
            matching: level(self.method.timesteps, Purpose::TeacherTimestep, Purpose::TeacherNoise),
            guidance: draws.iter().map(|draw| self.method.guidance.draw(draw)).collect(),
            denoising: level(all, Purpose::DiscriminatorTimestep, Purpose::DiscriminatorNoise),
            levels: self.method.gan.as_ref().map(levels),
            x_0,
        }
    }
}

impl Objective for Dmd2Run<'_> {
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
        // The student moves after the denoiser of fakes has had its updates, so a log of every `updates`-th step has both.
        let moves = (step + 1).is_multiple_of(self.method.updates);
        let lr_g = moves.then(|| self.method.generator.lr_at(step, run.steps));
        let lr_d = self.method.fakes.lr_at(step, run.steps);
        let mut report = self.trainer.step(parts, lr_g, lr_d);
        if let Some(lr) = lr_g {
            report.number("lr_g", lr);
        }
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

impl MethodRun for Dmd2Run<'_> {
    fn product(&self) -> Product {
        Product::model(self.recipe, self.averaged())
    }
}
