//! A pretraining run: batches and noise drawn from the seed.

use std::path::Path;

use add_data::Feed;
use add_plugin::{Draw, Latents, Purpose, Timesteps};
use add_recipe::{
    Encodings, MethodRun, Product, Recipe, RunContext, SampledModel, caption_dropout, data_error,
    preview::{self, PreviewRow},
    slot::{CODEC, DENOISER, TEXT},
};
use add_train::{
    TrainError, networks::NetworkSet, noise::normal, replicas::BatchPart, report::StepReport, run::Objective,
};
use burn::tensor::Device;

use super::{Captions, Diffusion, DiffusionInputs, DiffusionTrainer};

/// Pretraining of a recipe's model and text encoder.
pub(super) struct DiffusionRun<'a> {
    recipe: &'a Recipe,
    method: &'a Diffusion,
    trainer: DiffusionTrainer,
    feed: Feed,
    latents: Encodings,
    captions: Encodings,
    device: Device,
}

impl<'a> DiffusionRun<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        method: &'a Diffusion,
        networks: NetworkSet,
        context: RunContext,
    ) -> Self {
        let RunContext { feed, replicas, device } = context;
        let latents = Encodings::of_codec(recipe, &recipe.codec, networks.codec(CODEC), &device);
        let captions = Encodings::of_text(recipe, &recipe.text, networks.text(TEXT), &device);
        let diffusion = recipe.model.diffusion(recipe.codec.info());
        let trainer = DiffusionTrainer { networks, diffusion, replicas };
        Self { recipe, method, trainer, feed, latents, captions, device }
    }

    /// The averaged model.
    fn averaged(&self) -> SampledModel {
        let networks = &self.trainer.networks;
        SampledModel {
            denoiser: networks.averaged_denoiser(DENOISER),
            text: networks.averaged_text(TEXT),
            diffusion: self.trainer.diffusion.clone(),
            student_timesteps: Vec::new(),
        }
    }

    /// The parts of the batch of `step`.
    fn inputs(&mut self, step: u64) -> Result<Vec<DiffusionInputs>, TrainError> {
        let Recipe { seed, batch: whole, .. } = *self.recipe;
        let batch = self.feed.batch(step).map_err(data_error)?;
        let first = step * whole as u64;
        // Stratified: the batch covers the whole range of timesteps evenly, from a random offset.
        let steps = self.trainer.diffusion.schedule.steps();
        let offset = Draw { seed, step, index: first }.uniform(Purpose::StudentTimestep);
        let t = |i: usize| ((((i as f64 + offset) / whole as f64) * steps as f64) as usize).min(steps - 1);
        let x_0 = self.latents.latents(self.trainer.networks.codec(CODEC), &batch.pixels(&self.device)).0;
        let frozen_text = !self.recipe.text_is_the_models();
        let text = self.trainer.networks.text(TEXT);
        let part = |BatchPart { samples, loaded }| {
            let x_0 = x_0.clone().slice([loaded.clone()]);
            let first = first + samples.start as u64;
            let dropout = self.method.caption_dropout;
            let captions = caption_dropout(&batch.captions[loaded], dropout, seed, step, first);
            DiffusionInputs {
                eps: normal(seed, step, first, Purpose::StudentNoise, x_0.dims(), &self.device),
                x_0: Latents(x_0),
                captions: if frozen_text {
                    Captions::Encoded(Box::new(self.captions.captions(text, &captions)))
                } else {
                    Captions::Text(captions)
                },
                t: Timesteps::whole(samples.map(t)),
            }
        };
        Ok(self.trainer.replicas.parts(whole).map(part).collect())
    }
}

impl Objective for DiffusionRun<'_> {
    fn step(&mut self, step: u64) -> Result<StepReport, TrainError> {
        let parts = self.inputs(step)?;
        let lr = self.method.optimizer.lr_at(step, self.recipe.run.steps);
        let mut report = self.trainer.step(parts, lr);
        report.number("lr", lr);
        Ok(report)
    }

    fn networks(&mut self) -> &mut NetworkSet {
        &mut self.trainer.networks
    }

    fn preview(&mut self, path: &Path) -> Result<(), TrainError> {
        if self.recipe.preview.prompts.is_empty() {
            return Ok(());
        }
        let model = self.averaged();
        let sampling = &self.recipe.sampling;
        let row = |guidance: f64, label: String| PreviewRow {
            label,
            pixels: model.generate(
                self.recipe,
                self.trainer.networks.codec(CODEC),
                &preview::request(self.recipe, &*sampling.sampler, sampling.steps, guidance),
            ),
        };
        let guidance = self.recipe.preview.guidance;
        let rows = vec![
            row(guidance, format!("{} steps, guidance {guidance}", sampling.steps)),
            row(1.0, format!("{} steps, no guidance", sampling.steps)),
        ];
        preview::write(path, &self.recipe.preview.prompts, rows)
    }

    fn device(&self) -> Device {
        self.device.clone()
    }
}

impl MethodRun for DiffusionRun<'_> {
    fn product(&self) -> Product {
        Product::model(self.recipe, self.averaged())
    }
}
