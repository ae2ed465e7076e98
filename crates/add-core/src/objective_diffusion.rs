//! `objective: Diffusion(…)`: pretraining, with batches and noise drawn from the seed.

use std::{ops::Range, path::Path};

use add_data::Feed;
use add_plugin::{Autoencoder, Draw, Latents, Purpose, Timesteps};
use add_train::{
    TrainError,
    diffusion_step::{Captions, DiffusionInputs, DiffusionTrainer},
    report::StepReport,
    run::Objective,
    sampling::normal,
    state::State,
};
use burn::tensor::Device;

use crate::{
    caption_dropout::caption_dropout,
    encodings::Encodings,
    preview::{self, PreviewRow},
    recipe::{DiffusionObjective, Recipe},
    sampled::Sampled,
};

/// Pretraining of a recipe's model and text encoder.
pub(crate) struct DiffusionRun<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) objective: &'a DiffusionObjective,
    pub(crate) trainer: DiffusionTrainer,
    /// Pixels to latents, on the plain device.
    pub(crate) codec: Box<dyn Autoencoder>,
    pub(crate) feed: Feed,
    pub(crate) encodings: Encodings,
    pub(crate) device: Device,
}

impl DiffusionRun<'_> {
    /// The averaged model.
    pub(crate) fn averaged(&self) -> Sampled {
        let mut denoiser = self.trainer.denoiser.frozen();
        let mut text = self.trainer.text.frozen();
        self.trainer.ema.install("denoiser", &mut *denoiser);
        self.trainer.ema.install("text", &mut *text);
        Sampled { denoiser, text, diffusion: self.trainer.diffusion.clone(), student_timesteps: Vec::new() }
    }

    /// The parts of the batch of `step`.
    fn inputs(&mut self, step: u64) -> Result<Vec<DiffusionInputs>, TrainError> {
        let Recipe { seed, batch: whole, .. } = *self.recipe;
        let batch = self.feed.batch(step).map_err(crate::data_error)?;
        let first = step * whole as u64;
        // Stratified: the batch covers the whole range of timesteps evenly, from a random offset.
        let steps = self.trainer.diffusion.schedule.steps();
        let offset = Draw { seed, step, index: first }.uniform(Purpose::StudentTimestep);
        let t = |i: usize| ((((i as f64 + offset) / whole as f64) * steps as f64) as usize).min(steps - 1);
        let x_0 = self.encodings.latents(&*self.codec, &batch.pixels(&self.device)).0;
        let own_text = !self.recipe.text.weights().is_empty();
        let text = self.trainer.text.frozen();
        let each = whole / self.trainer.shards.count();
        let part = |(range, here): (Range<usize>, usize)| {
            let here = here..here + each;
            let x_0 = x_0.clone().slice([here.clone()]);
            let first = first + range.start as u64;
            let dropout = self.objective.caption_dropout;
            let captions = caption_dropout(&batch.captions[here], dropout, seed, step, first);
            DiffusionInputs {
                eps: normal(seed, step, first, Purpose::StudentNoise, x_0.dims(), &self.device),
                x_0: Latents(x_0),
                captions: if own_text {
                    Captions::Encoded(Box::new(self.encodings.captions(&*text, &captions)))
                } else {
                    Captions::Text(captions)
                },
                t: Timesteps::whole(range.map(t)),
            }
        };
        let ranges = self.trainer.shards.ranges(whole).into_iter();
        Ok(ranges.zip((0..).step_by(each)).map(part).collect())
    }
}

impl Objective for DiffusionRun<'_> {
    fn step(&mut self, step: u64) -> Result<StepReport, TrainError> {
        let parts = self.inputs(step)?;
        let lr = self.objective.optimizer.lr_at(step, self.recipe.run.steps);
        let mut report = self.trainer.step(parts, lr);
        report.number("lr", lr);
        Ok(report)
    }

    fn save(&self, state: &mut State) {
        state.save_network("denoiser", &*self.trainer.denoiser);
        state.save_network("text", &*self.trainer.text);
        self.trainer.ema.save("ema", state);
        self.trainer.optimizer.save("optimizer", state);
    }

    fn load(&mut self, state: &State) -> Result<(), TrainError> {
        state.load_network("denoiser", &mut *self.trainer.denoiser)?;
        state.load_network("text", &mut *self.trainer.text)?;
        self.trainer.ema.load("ema", state)?;
        self.trainer.optimizer.load("optimizer", state)
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
                &*self.codec,
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
