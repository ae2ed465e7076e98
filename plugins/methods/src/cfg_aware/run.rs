//! A run of CFG-aware step distillation: batches and noise drawn from the seed, stage after stage.

use std::path::Path;

use add_data::Feed;
use add_loss::{StepTimes, trailing_timesteps};
use add_plugin::{Denoiser, Draw, Latents, Purpose};
use add_recipe::{
    Encodings, MethodRun, Product, Recipe, RunContext, SampledModel, data_error, preview,
    slot::{CODEC, STUDENT, TEXT},
};
use add_train::{
    TrainError, networks::NetworkSet, noise::normal, replicas::BatchPart, report::StepReport, run::Objective,
    state::State,
};
use burn::tensor::Device;

use super::{
    CfgAware, OPTIMIZER,
    step::{Inputs, Trainer},
};
use crate::stages::{Stage, Staged};

/// A step distillation of a recipe's model.
pub(super) struct CfgAwareRun<'a> {
    recipe: &'a Recipe,
    method: &'a CfgAware,
    stages: Staged<usize>,
    trainer: Trainer,
    feed: Feed,
    latents: Encodings,
    captions: Encodings,
    device: Device,
}

impl<'a> CfgAwareRun<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        method: &'a CfgAware,
        networks: NetworkSet,
        context: RunContext,
    ) -> Self {
        let RunContext { feed, replicas, device } = context;
        let latents = Encodings::of_codec(recipe, &recipe.codec, networks.codec(CODEC), &device);
        let captions = Encodings::of_text(recipe, &recipe.text, networks.text(TEXT), &device);
        let null = captions.captions(networks.text(TEXT), &[String::new()]);
        let diffusion = recipe.model.diffusion(recipe.codec.info());
        let (weighting, original) = (method.weighting, method.original);
        let trainer = Trainer { networks, diffusion, null, weighting, original, replicas };
        let stages = Staged::new(method.stages());
        Self { recipe, method, stages, trainer, feed, latents, captions, device }
    }

    /// `denoiser` as the model that samples in the steps of `stage`; before all stages, the recipe's own.
    fn model(&self, denoiser: Box<dyn Denoiser>, stage: Option<&Stage<usize>>) -> SampledModel {
        let total = self.trainer.diffusion.schedule.steps();
        SampledModel {
            denoiser,
            text: self.trainer.networks.text(TEXT).frozen(),
            diffusion: self.trainer.diffusion.clone(),
            student_timesteps: stage.map(|stage| trailing_timesteps(total, stage.lesson)).unwrap_or_default(),
        }
    }

    /// What the last finished stage has made; before one is, the recipe's own model.
    fn finished_model(&self) -> SampledModel {
        self.model(self.stages.finished_denoiser(&self.trainer.networks), self.stages.last_finished())
    }

    /// The parts of the batch of `step`, which is in `stage`.
    fn inputs(&mut self, step: u64, stage: &Stage<usize>) -> Result<Vec<Inputs>, TrainError> {
        let Recipe { seed, batch: whole, .. } = *self.recipe;
        let batch = self.feed.batch(step).map_err(data_error)?;
        let first = step * whole as u64;
        let total = self.trainer.diffusion.schedule.steps();
        // Stratified: the batch covers all places evenly, from a random offset.
        let of_step = Draw { seed, step, index: first };
        let offset = of_step.uniform(Purpose::StudentTimestep);
        let place = |i: usize| {
            (((i as f64 + offset) / whole as f64 * stage.lesson as f64) as usize).min(stage.lesson - 1)
        };
        let is_guided = of_step.uniform(Purpose::GuidedStep) < self.method.cfg_probability;
        let networks = &self.trainer.networks;
        let x = self.latents.latents(networks.codec(CODEC), &batch.pixels(&self.device)).0;
        let part = |BatchPart { samples, loaded }| {
            let x = x.clone().slice([loaded.clone()]);
            let first = first + samples.start as u64;
            let scale = |i: u64| self.method.guidance.draw(&Draw { seed, step, index: first + i });
            let places: Vec<usize> = samples.clone().map(place).collect();
            Inputs {
                eps: normal(seed, step, first, Purpose::StudentNoise, x.dims(), &self.device),
                x: Latents(x),
                captions: self.captions.captions(networks.text(TEXT), &batch.captions[loaded]),
                scales: is_guided.then(|| (0..samples.len() as u64).map(scale).collect()),
                times: StepTimes::at(total, stage.lesson, &places),
            }
        };
        Ok(self.trainer.replicas.parts(whole).map(part).collect())
    }
}

impl Objective for CfgAwareRun<'_> {
    fn step(&mut self, step: u64) -> Result<StepReport, TrainError> {
        let stage = self.stages.at(step);
        let parts = self.inputs(step, &stage)?;
        let lr = stage.lr(step, &self.method.optimizer);
        let mut report = self.trainer.step(parts, lr);
        self.stages.stepped(step, lr, &mut self.trainer.networks, OPTIMIZER, &mut report);
        report.number("sampling_steps", stage.lesson as f64);
        Ok(report)
    }

    fn save(&self, state: &mut State) {
        self.stages.save(state);
    }

    fn load(&mut self, state: &State) -> Result<(), TrainError> {
        self.stages.load(state)
    }

    fn networks(&mut self) -> &mut NetworkSet {
        &mut self.trainer.networks
    }

    fn preview(&mut self, path: &Path) -> Result<(), TrainError> {
        let stage = self.stages.current_or_last();
        let student = self.model(self.trainer.networks.averaged_denoiser(STUDENT), stage);
        let (codec, guidance) = (self.trainer.networks.codec(CODEC), self.recipe.preview.guidance);
        preview::student(path, self.recipe, &student, codec, guidance)
    }

    fn device(&self) -> Device {
        self.device.clone()
    }
}

impl MethodRun for CfgAwareRun<'_> {
    fn product(&self) -> Product {
        Product::model(self.recipe, self.finished_model())
    }
}
