//! A run of latent consistency distillation: batches, timesteps, guidance and noise drawn from the seed.

use std::path::Path;

use add_data::Feed;
use add_plugin::{Draw, Latents, PluginError, Purpose, Timesteps};
use add_recipe::{
    Encodings, MethodRun, Product, Recipe, RunContext, SampledModel, adapters, caption_dropout, data_error,
    preview,
    slot::{CODEC, STUDENT, TEXT},
};
use add_train::{
    TrainError, networks::NetworkSet, noise::normal, replicas::BatchPart, report::StepReport, run::Objective,
};
use burn::tensor::Device;

use super::{Consistency, ConsistencyInputs, ConsistencyOptions, ConsistencyTrainer};

/// A consistency distillation of a recipe's model.
pub(super) struct ConsistencyRun<'a> {
    recipe: &'a Recipe,
    method: &'a Consistency,
    trainer: ConsistencyTrainer,
    feed: Feed,
    latents: Encodings,
    captions: Encodings,
    timesteps: Vec<usize>,
    device: Device,
}

impl<'a> ConsistencyRun<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        method: &'a Consistency,
        networks: NetworkSet,
        context: RunContext,
    ) -> Self {
        let RunContext { feed, replicas, device } = context;
        let latents = Encodings::of_codec(recipe, &recipe.codec, networks.codec(CODEC), &device);
        let captions = Encodings::of_text(recipe, &recipe.text, networks.text(TEXT), &device);
        let null = captions.captions(networks.text(TEXT), &[String::new()]);
        let trainer = ConsistencyTrainer {
            networks,
            diffusion: recipe.model.diffusion(recipe.codec.info()),
            teacher_diffusion: method.teacher.model(recipe).diffusion(recipe.codec.info()),
            null,
            options: ConsistencyOptions {
                skip: method.skip,
                timestep_scaling: method.timestep_scaling,
                distance: method.distance,
                target: method.target_role(),
            },
            replicas,
        };
        Self { recipe, method, trainer, feed, latents, captions, timesteps: method.timesteps(recipe), device }
    }

    /// The averaged student.
    fn averaged(&self) -> Result<SampledModel, PluginError> {
        let networks = &self.trainer.networks;
        Ok(SampledModel {
            denoiser: adapters::averaged(self.recipe, networks, STUDENT, &self.device)?,
            text: networks.text(TEXT).frozen(),
            diffusion: self.trainer.diffusion.clone(),
            student_timesteps: self.timesteps.clone(),
        })
    }

    /// A part of the batch, of which `first` is the first sample's number in the whole run.
    fn part(&self, step: u64, first: u64, x_0: Latents, captions: &[String]) -> ConsistencyInputs {
        let seed = self.recipe.seed;
        let shape = x_0.0.dims();
        let draws: Vec<Draw> = (0..shape[0] as u64).map(|i| Draw { seed, step, index: first + i }).collect();
        let t = |draw: &Draw| self.timesteps[draw.below(Purpose::StudentTimestep, self.timesteps.len())];
        let captions = caption_dropout(captions, self.method.caption_dropout, seed, step, first);
        ConsistencyInputs {
            captions: self.captions.captions(self.trainer.networks.text(TEXT), &captions),
            t: Timesteps::whole(draws.iter().map(t)),
            eps: normal(seed, step, first, Purpose::StudentNoise, shape, &self.device),
            guidance: draws.iter().map(|draw| self.method.guidance.draw(draw)).collect(),
            x_0,
        }
    }
}

impl Objective for ConsistencyRun<'_> {
    fn step(&mut self, step: u64) -> Result<StepReport, TrainError> {
        let batch = self.feed.batch(step).map_err(data_error)?;
        let whole = self.recipe.batch;
        let codec = self.trainer.networks.codec(CODEC);
        let x_0 = self.latents.latents(codec, &batch.pixels(&self.device)).0;
        let part = |BatchPart { samples, loaded }| {
            let x_0 = Latents(x_0.clone().slice([loaded.clone()]));
            self.part(step, step * whole as u64 + samples.start as u64, x_0, &batch.captions[loaded])
        };
        let parts = self.trainer.replicas.parts(whole).map(part).collect();
        let lr = self.method.optimizer.lr_at(step, self.recipe.run.steps);
        let mut report = self.trainer.step(parts, lr);
        report.number("lr", lr);
        Ok(report)
    }

    fn networks(&mut self) -> &mut NetworkSet {
        &mut self.trainer.networks
    }

    fn preview(&mut self, path: &Path) -> Result<(), TrainError> {
        // A student that cannot be told its guidance has learnt it; guided once more it would be burnt.
        let is_told = self.recipe.model.backbone.takes_guidance();
        let guidance = if is_told { self.recipe.preview.guidance } else { 1.0 };
        preview::student(path, self.recipe, &self.averaged()?, self.trainer.networks.codec(CODEC), guidance)
    }

    fn device(&self) -> Device {
        self.device.clone()
    }
}

impl MethodRun for ConsistencyRun<'_> {
    fn product(&self) -> Product {
        let model = self.averaged().expect("the backbone was made before");
        let adapters = adapters::averaged_alone(self.recipe, &self.trainer.networks, STUDENT);
        Product { adapters, ..Product::model(self.recipe, model) }
    }
}
