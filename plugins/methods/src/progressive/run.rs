//! A progressive distillation: batches and noise drawn from the seed, stage after stage.

use std::path::Path;

use add_data::Feed;
use add_loss::{StepTimes, trailing_timesteps};
use add_plugin::{Denoiser, Draw, Latents, Purpose, Timesteps};
use add_recipe::{
    Encodings, MethodRun, Product, Recipe, RunContext, SampledModel, data_error,
    preview::{self, PreviewRow},
    slot::{CODEC, STUDENT, TEXT},
};
use add_train::{
    TrainError, networks::NetworkSet, noise::normal, replicas::BatchPart, report::StepReport, run::Objective,
    state::State,
};
use burn::tensor::Device;

use super::{
    OPTIMIZER, Progressive,
    stages::{Lesson, Stage},
    step::{Inputs, Times, Trainer},
};
use crate::stages::Staged;

/// A progressive distillation of a recipe's model.
pub(super) struct ProgressiveRun<'a> {
    recipe: &'a Recipe,
    method: &'a Progressive,
    stages: Staged<Lesson>,
    trainer: Trainer,
    feed: Feed,
    latents: Encodings,
    captions: Encodings,
    device: Device,
}

impl<'a> ProgressiveRun<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        method: &'a Progressive,
        networks: NetworkSet,
        context: RunContext,
    ) -> Self {
        let RunContext { feed, replicas, device } = context;
        let latents = Encodings::of_codec(recipe, &recipe.codec, networks.codec(CODEC), &device);
        let captions = Encodings::of_text(recipe, &recipe.text, networks.text(TEXT), &device);
        let null = captions.captions(networks.text(TEXT), &[String::new()]);
        let diffusion = recipe.model.diffusion(recipe.codec.info());
        let trainer = Trainer { networks, diffusion, null, weighting: method.weighting, replicas };
        let stages = Staged::new(method.stages());
        Self { recipe, method, stages, trainer, feed, latents, captions, device }
    }

    /// `denoiser` as the model that the student of `stage` is; before all stages, the recipe's own.
    fn model(&self, denoiser: Box<dyn Denoiser>, stage: Option<&Stage>) -> SampledModel {
        let total = self.trainer.diffusion.schedule.steps();
        SampledModel {
            denoiser,
            text: self.trainer.networks.text(TEXT).frozen(),
            diffusion: self.trainer.diffusion.clone(),
            student_timesteps: match stage.map(|stage| stage.lesson) {
                None | Some(Lesson::Guidance) => Vec::new(),
                Some(Lesson::Halving(steps)) => trailing_timesteps(total, steps),
            },
        }
    }

    /// What the last finished stage has made; before one is, the recipe's own model.
    fn finished_model(&self) -> SampledModel {
        self.model(self.stages.finished_denoiser(&self.trainer.networks), self.stages.last_finished())
    }

    /// The parts of the batch of `step`, which is in `stage`.
    fn inputs(&mut self, step: u64, stage: &Stage) -> Result<Vec<Inputs>, TrainError> {
        let Recipe { seed, batch: whole, .. } = *self.recipe;
        let batch = self.feed.batch(step).map_err(data_error)?;
        let first = step * whole as u64;
        let total = self.trainer.diffusion.schedule.steps();
        // Stratified: the batch covers all places evenly, from a random offset.
        let offset = Draw { seed, step, index: first }.uniform(Purpose::StudentTimestep);
        let place =
            |i: usize, of: usize| (((i as f64 + offset) / whole as f64 * of as f64) as usize).min(of - 1);
        let networks = &self.trainer.networks;
        let x = self.latents.latents(networks.codec(CODEC), &batch.pixels(&self.device)).0;
        let part = |BatchPart { samples, loaded }| {
            let x = x.clone().slice([loaded.clone()]);
            let first = first + samples.start as u64;
            let scale = |i: u64| {
                let guidance = self.method.guidance.as_ref();
                guidance.map_or(1.0, |stage| stage.scale.draw(&Draw { seed, step, index: first + i }))
            };
            Inputs {
                eps: normal(seed, step, first, Purpose::StudentNoise, x.dims(), &self.device),
                x: Latents(x),
                captions: self.captions.captions(networks.text(TEXT), &batch.captions[loaded]),
                scales: (0..samples.len() as u64).map(scale).collect(),
                times: match stage.lesson {
                    Lesson::Guidance => Times::Guidance(Timesteps::whole(samples.map(|i| place(i, total)))),
                    Lesson::Halving(steps) => {
                        let places: Vec<usize> = samples.map(|i| place(i, steps)).collect();
                        Times::Halving(StepTimes::at(total, steps, &places))
                    }
                },
            }
        };
        Ok(self.trainer.replicas.parts(whole).map(part).collect())
    }

    /// A row of the grid: `model` in `steps` steps.
    fn row(&self, name: &str, model: &SampledModel, steps: usize) -> PreviewRow {
        let sampling = &self.recipe.sampling;
        let scale = self.method.guidance.as_ref().map_or(1.0, |stage| stage.scale.middle());
        let guidance = if model.denoiser.takes_guidance() { scale } else { 1.0 };
        let wanted = preview::request(self.recipe, &*sampling.sampler, steps, guidance);
        let unit = if steps == 1 { "step" } else { "steps" };
        PreviewRow {
            label: format!("{name}, {steps} {unit}"),
            pixels: model.generate(self.recipe, self.trainer.networks.codec(CODEC), &wanted),
        }
    }
}

impl Objective for ProgressiveRun<'_> {
    fn step(&mut self, step: u64) -> Result<StepReport, TrainError> {
        let stage = self.stages.at(step);
        let parts = self.inputs(step, &stage)?;
        let lr = stage.lr(step, &self.method.optimizer);
        let mut report = self.trainer.step(parts, lr);
        self.stages.stepped(step, lr, &mut self.trainer.networks, OPTIMIZER, &mut report);
        let sampling_steps = match stage.lesson {
            Lesson::Guidance => self.method.halving.from,
            Lesson::Halving(steps) => steps,
        };
        report.number("sampling_steps", sampling_steps as f64);
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
        if self.recipe.preview.prompts.is_empty() {
            return Ok(());
        }
        let rows = match self.stages.current() {
            None => {
                let student = self.finished_model();
                let steps = self.recipe.preview.steps.iter();
                steps.map(|&steps| self.row("student", &student, steps)).collect()
            }
            Some(stage) => {
                let student = self.model(self.trainer.networks.averaged_denoiser(STUDENT), Some(stage));
                match stage.lesson {
                    Lesson::Guidance => vec![self.row("student", &student, self.method.halving.from)],
                    Lesson::Halving(steps) => vec![
                        self.row("student", &student, steps),
                        self.row("its teacher", &self.finished_model(), 2 * steps),
                    ],
                }
            }
        };
        preview::write(path, &self.recipe.preview.prompts, rows)
    }

    fn device(&self) -> Device {
        self.device.clone()
    }
}

impl MethodRun for ProgressiveRun<'_> {
    fn product(&self) -> Product {
        Product::model(self.recipe, self.finished_model())
    }
}
