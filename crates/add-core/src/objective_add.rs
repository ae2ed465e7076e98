//! `objective: Add(…)`: Adversarial Diffusion Distillation, with batches and noise drawn from the seed.

use std::{collections::BTreeMap, path::Path};

use add_data::Feed;
use add_loss::{augmented_view, resize};
use add_plugin::{Conditioning, Content, Draw, Latents, Pixels, Purpose, TextNetwork, Timesteps};
use add_train::{
    TrainError,
    add_inputs::{AddInputs, Prompts, StudentInput, TeacherInput, View},
    add_step::AddTrainer,
    health::HeadsHealth,
    report::StepReport,
    run::Objective,
    sampling::normal,
    simulation::Simulation,
    state::State,
};
use add_weights::NamedTensor;
use burn::tensor::{Device, Tensor};
use tracing::warn;

use crate::{
    adapters,
    caption_dropout::caption_dropout,
    dtype,
    encodings::Encodings,
    preview::{self, PreviewRow},
    recipe::{Adapter, AddObjective, Guidance, Recipe},
    sampled::Sampled,
};

/// A term whose gradient is so many times the other's drowns it.
const IMBALANCE: f64 = 30.0;
/// Steps between looks at the balance.
const WARN_EVERY: u64 = 100;

/// Lambda belongs to its reduction; a wrong one shows here and nowhere else.
fn warn_of_imbalance(report: &StepReport) {
    let norms = (report.get("grad_norm_adv"), report.get("grad_norm_distill"));
    let (Some(adversarial), Some(distillation)) = norms else { return };
    if adversarial > IMBALANCE * distillation || distillation > IMBALANCE * adversarial {
        warn!(
            adversarial,
            distillation, "one term's gradient at x_hat_theta drowns the other's; adjust lambda"
        );
    }
}

/// A distillation run.
pub(crate) struct AddRun<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) objective: &'a AddObjective,
    pub(crate) trainer: AddTrainer<'a>,
    pub(crate) text: Box<dyn TextNetwork>,
    /// The empty caption, encoded.
    pub(crate) null: Conditioning,
    /// The negative prompt, encoded.
    pub(crate) negative: Conditioning,
    pub(crate) feed: Feed,
    pub(crate) encodings: Encodings,
    pub(crate) timesteps: Vec<usize>,
    /// The SHA-256 of what stays as it is beside adapters.
    pub(crate) frozen: BTreeMap<String, String>,
    pub(crate) health: HeadsHealth,
    pub(crate) device: Device,
}

impl<'a> AddRun<'a> {
    /// The averaged student.
    pub(crate) fn averaged(&self) -> Sampled {
        let mut denoiser = self.trainer.networks.student.frozen();
        self.trainer.ema.install("", &mut *denoiser);
        if let Adapter::Lora(lora) = &self.recipe.model.adapter {
            let merged = adapters::merged(self.recipe, lora, &*denoiser, &self.device);
            let merged = merged.expect("the backbone was made before");
            denoiser = dtype::denoiser(merged, self.recipe.dtype.model);
        }
        let diffusion = self.trainer.method.student_diffusion.clone();
        Sampled { denoiser, text: self.text.frozen(), diffusion, student_timesteps: self.timesteps.clone() }
    }

    /// The averaged adapters by the names of peft; none where the student has none.
    pub(crate) fn averaged_adapters(&self) -> BTreeMap<String, NamedTensor> {
        let Adapter::Lora(lora) = &self.recipe.model.adapter else { return BTreeMap::new() };
        let mut denoiser = self.trainer.networks.student.frozen();
        self.trainer.ema.install("", &mut *denoiser);
        let component = self.recipe.model.backbone.component();
        let prefix = match component.as_ref().map(|component| &component.content) {
            Some(Content::Network { prefix, .. }) => *prefix,
            _ => "",
        };
        adapters::alone(&*denoiser, lora, prefix, "unet.")
    }

    /// A student timestep, drawn by the recipe's weights.
    fn student_timestep(&self, draw: &Draw) -> usize {
        let weights = &self.objective.timestep_weights;
        if weights.is_empty() {
            return self.timesteps[draw.below(Purpose::StudentTimestep, self.timesteps.len())];
        }
        let mut left = draw.uniform(Purpose::StudentTimestep) * weights.iter().sum::<f64>();
        for (&t, &weight) in self.timesteps.iter().zip(weights) {
            if left < weight {
                return t;
            }
            left -= weight;
        }
        *self.timesteps.last().expect("the recipe was checked")
    }

    /// A teacher timestep, uniform in the recipe's range.
    fn teacher_timestep(&self, draw: &Draw) -> usize {
        let (low, high) = self.objective.teacher.timesteps;
        low + draw.below(Purpose::TeacherTimestep, high - low + 1)
    }

    fn guidance(&self, draw: &Draw) -> f64 {
        match self.objective.teacher.guidance {
            Guidance::Fixed(scale) => scale,
            Guidance::Uniform(low, high) => low + draw.uniform(Purpose::Guidance) * (high - low),
        }
    }

    fn prompts(&self, captions: Conditioning) -> Prompts {
        Prompts { captions, null: self.null.clone(), negative: self.negative.clone() }
    }

    /// Which of the samples at `s` are simulated; `None` if none is. `shape` is that of the latents.
    fn simulation(&self, draws: &[Draw], s: &Timesteps, shape: [usize; 4]) -> Option<Simulation> {
        let last = *self.timesteps.last().expect("the recipe was checked") as f64;
        let part = self.objective.backward_simulation;
        let simulated = |(draw, &s): (&Draw, &f64)| s < last && draw.uniform(Purpose::Simulation) < part;
        let rows: Vec<bool> = draws.iter().zip(&s.0).map(simulated).collect();
        let (first, _) = (draws.first()?, rows.iter().find(|simulated| **simulated)?);
        let [b, c, h, w] = shape;
        let levels = self.timesteps.len();
        let Draw { seed, step, index } = *first;
        let noise = normal(seed, step, index, Purpose::SimulationNoise, [b, levels * c, h, w], &self.device);
        let path = self.timesteps.iter().rev().map(|&t| t as f64).zip(noise.split(c, 1)).collect();
        Some(Simulation { rows, path })
    }

    /// A part of the batch, of which `first` is the first sample's number in the whole run.
    fn part(&self, step: u64, first: u64, real: (Pixels, Latents), captions: Conditioning) -> AddInputs<'a> {
        let (seed, (pixels, x_0)) = (self.recipe.seed, real);
        let [count, _, h, w] = pixels.0.dims();
        let draws: Vec<Draw> = (0..count as u64).map(|i| Draw { seed, step, index: first + i }).collect();
        let shape = x_0.0.dims();
        let noise = |purpose| normal(seed, step, first, purpose, shape, &self.device);
        let size = self.trainer.networks.features.input_size();
        let embedding_size = self.trainer.networks.image_encoder.as_ref().map_or(size, |e| e.input_size());
        let augment = &self.objective.adversarial.augment;
        let augmented = |purpose| -> View<'a> {
            let each: Vec<_> = draws.iter().map(|draw| augment.draw([h, w], draw, purpose)).collect();
            Box::new(move |x| augmented_view(x, &each, [size; 2]))
        };
        let generator = StudentInput {
            s: Timesteps::whole(draws.iter().map(|d| self.student_timestep(d))),
            eps: noise(Purpose::StudentNoise),
        };
        AddInputs {
            simulation: self.simulation(&draws, &generator.s, shape),
            pixels,
            x_0,
            prompts: self.prompts(captions),
            discriminator: None,
            teacher: TeacherInput {
                t: Timesteps::whole(draws.iter().map(|d| self.teacher_timestep(d))),
                eps: correlated(
                    generator.eps.clone(),
                    noise(Purpose::TeacherNoise),
                    self.objective.teacher.noise_correlation,
                ),
                guidance: draws.iter().map(|d| self.guidance(d)).collect(),
            },
            generator,
            real_view: augmented(Purpose::AugmentReal),
            fake_view: augmented(Purpose::AugmentFake),
            embedding_view: Box::new(move |x| resize(x, [embedding_size; 2])),
            draws,
        }
    }
}

/// Noise of unit variance whose correlation with `noise` is `rho`, the rest being `fresh`.
fn correlated(noise: Tensor<4>, fresh: Tensor<4>, rho: f64) -> Tensor<4> {
    // Exact at both ends: what is not mixed is not rounded.
    if rho == 0.0 {
        return fresh;
    }
    noise.mul_scalar(rho) + fresh.mul_scalar((1.0 - rho * rho).sqrt())
}

impl Objective for AddRun<'_> {
    fn step(&mut self, step: u64) -> Result<StepReport, TrainError> {
        let batch = self.feed.batch(step).map_err(crate::data_error)?;
        let Recipe { seed, batch: whole, .. } = *self.recipe;
        let pixels = batch.pixels(&self.device);
        let x_0 = self.encodings.latents(&*self.trainer.networks.codec, &pixels);
        let each = whole / self.trainer.shards.count();
        let ranges = self.trainer.shards.ranges(whole).into_iter();
        let parts = ranges
            .zip((0..).step_by(each))
            .map(|(range, here)| {
                let here = here..here + each;
                let real = (
                    Pixels(pixels.0.clone().slice([here.clone()])),
                    Latents(x_0.0.clone().slice([here.clone()])),
                );
                let first = step * whole as u64 + range.start as u64;
                let dropout = self.objective.caption_dropout;
                let captions = caption_dropout(&batch.captions[here], dropout, seed, step, first);
                self.part(step, first, real, self.encodings.captions(&*self.text, &captions))
            })
            .collect();
        let steps = self.recipe.run.steps;
        let lr_g = self.objective.generator.lr_at(step, steps);
        let lr_d = self.objective.discriminator.lr_at(step, steps);
        let mut report = self.trainer.step(parts, lr_g, lr_d);
        report.number("lr_g", lr_g);
        report.number("lr_d", lr_d);
        if let Some(collapse) = self.health.look(step, &report) {
            warn!(step, "{}", collapse.advice());
        }
        if step % WARN_EVERY == WARN_EVERY - 1 {
            warn_of_imbalance(&report);
        }
        Ok(report)
    }

    fn save(&self, state: &mut State) {
        for (what, digest) in &self.frozen {
            state.set_frozen(what, digest);
        }
        state.save_network("student", &*self.trainer.networks.student);
        state.save_network("heads", &*self.trainer.networks.heads);
        self.trainer.ema.save("ema", state);
        self.trainer.optimizer_g.save("optimizer_g", state);
        self.trainer.optimizer_d.save("optimizer_d", state);
    }

    fn load(&mut self, state: &State) -> Result<(), TrainError> {
        for (what, digest) in &self.frozen {
            state.check_frozen(what, digest)?;
        }
        state.load_network("student", &mut *self.trainer.networks.student)?;
        state.load_network("heads", &mut *self.trainer.networks.heads)?;
        self.trainer.ema.load("ema", state)?;
        self.trainer.optimizer_g.load("optimizer_g", state)?;
        self.trainer.optimizer_d.load("optimizer_d", state)
    }

    fn preview(&mut self, path: &Path) -> Result<(), TrainError> {
        if self.recipe.preview.prompts.is_empty() {
            return Ok(());
        }
        let student = self.averaged();
        let codec = &*self.trainer.networks.codec;
        let sampler = &*self.recipe.sampling.sampler;
        let mut rows: Vec<PreviewRow> = Vec::new();
        for &steps in &self.recipe.preview.steps {
            let wanted = preview::request(self.recipe, sampler, steps, 1.0);
            let label = if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") };
            rows.push(PreviewRow { label, pixels: student.generate(self.recipe, codec, &wanted) });
        }
        if let Some(one_step) = rows.first() {
            rows.push(PreviewRow {
                label: "teacher's target".to_owned(),
                pixels: self.targets(&one_step.pixels),
            });
        }
        preview::write(path, &self.recipe.preview.prompts, rows)
    }

    fn device(&self) -> Device {
        self.device.clone()
    }
}

impl AddRun<'_> {
    /// What the teacher would make of the student's pictures: `x_hat_psi` at the middle teacher timestep.
    fn targets(&self, pictures: &Pixels) -> Pixels {
        let codec = &self.trainer.networks.codec;
        let x_hat = codec.encode(pictures.clone()).0;
        let [batch, c, h, w] = x_hat.dims();
        let (low, high) = self.objective.teacher.timesteps;
        let draw = Draw { seed: self.recipe.seed, step: 0, index: 0 };
        let input = TeacherInput {
            t: Timesteps::same(usize::midpoint(low, high) as f64, batch),
            eps: normal(draw.seed, 0, 0, Purpose::TeacherNoise, [batch, c, h, w], &self.device),
            guidance: vec![self.guidance(&draw); batch],
        };
        let prompts = self.prompts(self.text.encode(&self.recipe.preview.prompts));
        let AddTrainer { method, networks, .. } = &self.trainer;
        let target = method.target(&*networks.teacher, &prompts, &input, x_hat);
        Pixels(codec.decode(Latents(target)).0.clamp(-1.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlated_noise_has_unit_variance_and_the_stated_correlation() {
        let shape = [4, 3, 32, 32];
        let draw = |purpose| normal(1, 0, 0, purpose, shape, &Device::flex());
        let (noise, fresh) = (draw(Purpose::StudentNoise), draw(Purpose::TeacherNoise));
        let mean = |x: Tensor<4>| f64::from(x.mean().into_scalar::<f32>());
        for rho in [0.0, 0.4, 1.0] {
            let mixed = correlated(noise.clone(), fresh.clone(), rho);
            assert!((mean(mixed.clone().square()) - 1.0).abs() < 0.05, "{rho}");
            assert!((mean(mixed * noise.clone()) - rho).abs() < 0.05, "{rho}");
        }
    }
}
