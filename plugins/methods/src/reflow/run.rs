//! A run of rectified flow: pairs of the teacher, and timesteps drawn from the seed, stage after stage.

use std::path::Path;

use add_data::Feed;
use add_loss::timestep_on_line;
use add_plugin::{Conditioning, Draw, Purpose, Timesteps, fork};
use add_recipe::{
    Dimensions, Encodings, MethodRun, Product, Recipe, RunContext, SampledModel, data_error, latents_shape,
    preview,
    slot::{CODEC, STUDENT, TEACHER, TEXT},
};
use add_train::{
    TrainError, networks::NetworkSet, noise::normal, replicas::BatchPart, report::StepReport, run::Objective,
    state::State,
};
use burn::tensor::Device;

use super::{
    Goal, Lesson, OPTIMIZER, Reflow,
    pairs::{Kept, Maker, Pairs},
    step::{Asked, Inputs, Trainer},
};
use crate::{
    stages::{Stage, Staged},
    student::End,
};

/// A rectification of a recipe's model.
pub(super) struct ReflowRun<'a> {
    recipe: &'a Recipe,
    method: &'a Reflow,
    stages: Staged<Goal>,
    trainer: Trainer,
    feed: Feed,
    captions: Encodings,
    /// The empty caption, a batch of one.
    null: Conditioning,
    kept: Kept,
    device: Device,
}

impl<'a> ReflowRun<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        method: &'a Reflow,
        networks: NetworkSet,
        context: RunContext,
    ) -> Self {
        let RunContext { feed, replicas, device } = context;
        let captions = Encodings::of_text(recipe, &recipe.text, networks.text(TEXT), &device);
        let null = captions.captions(networks.text(TEXT), &[String::new()]);
        let diffusion = recipe.model.diffusion(recipe.codec.info());
        let end = End { last_timestep: diffusion.schedule.steps() - 1, terminal: method.terminal };
        let trainer = Trainer {
            networks,
            diffusion,
            end,
            distance: method.distance,
            perceptual: method.perceptual.as_ref().map_or(0.0, |perceptual| perceptual.weight),
            replicas,
        };
        let (stages, kept) = (Staged::new(method.stages()), Kept::default());
        Self { recipe, method, stages, trainer, feed, captions, null, kept, device }
    }

    /// The averaged student as the model that it is in its stage.
    fn averaged(&self) -> SampledModel {
        let networks = &self.trainer.networks;
        let one_step =
            matches!(self.stages.current_or_last().map(|stage| stage.lesson), Some(Goal::OneStep(_)));
        SampledModel {
            denoiser: networks.averaged_denoiser(STUDENT),
            text: networks.text(TEXT).frozen(),
            diffusion: self.trainer.diffusion.clone(),
            student_timesteps: if one_step { vec![self.trainer.end.last_timestep] } else { Vec::new() },
        }
    }

    /// The pairs of the captions of `batch`, in this rank's parts.
    fn make(&mut self, lesson: Lesson, batch: u64) -> Result<Vec<Pairs>, TrainError> {
        let Recipe { seed, batch: whole, .. } = *self.recipe;
        let loaded = self.feed.batch(batch).map_err(data_error)?;
        let size = Dimensions::square(self.recipe.data.size());
        let networks = &self.trainer.networks;
        let parts = self.trainer.replicas.parts(whole).map(|BatchPart { samples, loaded: rows }| {
            let shape = latents_shape(samples.len(), size, self.recipe.codec.info());
            let first = batch * whole as u64 + samples.start as u64;
            let eps = normal(seed, batch, first, Purpose::SampleNoise, shape, &self.device);
            (eps, self.captions.captions(networks.text(TEXT), &loaded.captions[rows]))
        });
        let mut made = Vec::new();
        self.trainer.replicas.each(
            parts.collect(),
            |(eps, captions): (_, Conditioning)| {
                let maker = Maker {
                    teacher: fork(networks.denoiser(TEACHER)),
                    diffusion: &self.trainer.diffusion,
                    sampler: &*self.method.sampler,
                    steps: lesson.sampling_steps,
                    guidance: lesson.guidance,
                    null: self.null.repeat(captions.batch()),
                };
                (maker, eps, captions)
            },
            |(maker, eps, captions)| maker.make(eps, captions),
            |pairs| made.push(pairs),
        );
        Ok(made)
    }

    /// The parts of the batch of `step`, which is in `stage`.
    fn inputs(&mut self, step: u64, stage: &Stage<Goal>) -> Result<Vec<Inputs>, TrainError> {
        let Recipe { seed, batch: whole, .. } = *self.recipe;
        let pool = self.method.pool;
        let place = pool.place(stage.first, step - stage.first);
        let mut kept = std::mem::take(&mut self.kept);
        let pairs = kept.take(place, pool, |batch| self.make(stage.lesson.lesson(), batch));
        self.kept = kept;
        // Stratified: the batch covers the line evenly, from a random offset.
        let offset = Draw { seed, step, index: step * whole as u64 }.uniform(Purpose::StudentTimestep);
        let schedule = &self.trainer.diffusion.schedule;
        let t = |i: usize| timestep_on_line(schedule, (i as f64 + offset) / whole as f64);
        let part = |(pairs, BatchPart { samples, .. })| Inputs {
            pairs,
            asked: match stage.lesson {
                Goal::Straighten(_) => Asked::Flow(Timesteps::whole(samples.map(t))),
                Goal::OneStep(_) => Asked::Picture,
            },
            is_new: place.is_new,
        };
        Ok(pairs?.into_iter().zip(self.trainer.replicas.parts(whole)).map(part).collect())
    }
}

impl Objective for ReflowRun<'_> {
    fn step(&mut self, step: u64) -> Result<StepReport, TrainError> {
        let stage = self.stages.at(step);
        let parts = self.inputs(step, &stage)?;
        let lr = stage.lr(step, &self.method.optimizer);
        let mut report = self.trainer.step(parts, lr);
        if self.stages.stepped(step, lr, &mut self.trainer.networks, OPTIMIZER, &mut report) {
            self.kept.clear();
        }
        Ok(report)
    }

    fn save(&self, state: &mut State) {
        self.stages.save(state);
    }

    fn load(&mut self, state: &State) -> Result<(), TrainError> {
        self.kept.clear();
        self.stages.load(state)
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

impl MethodRun for ReflowRun<'_> {
    fn product(&self) -> Product {
        Product::model(self.recipe, self.averaged())
    }
}
