//! `objective: Add(…)`: Adversarial Diffusion Distillation, with batches and noise drawn from the seed.

use std::path::Path;

use add_data::Loader;
use add_loss::{augmented_view, resize};
use add_plugin::{Draw, Pixels, Purpose, TextNetwork, Timesteps};
use add_train::{
    TrainError,
    add_step::{AddInputs, AddTrainer, Prompts, StudentInput, TeacherInput},
    report::StepReport,
    run::Objective,
    sampling::normal,
    state::State,
};
use burn::tensor::{Device, Tensor};
use tracing::warn;

use crate::{
    preview::{self, PreviewRow},
    recipe::{AddObjective, Guidance, Recipe},
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
    pub(crate) loader: Loader,
    pub(crate) timesteps: Vec<usize>,
    pub(crate) device: Device,
}

impl AddRun<'_> {
    /// The averaged student.
    pub(crate) fn averaged(&self) -> Sampled {
        let mut denoiser = self.trainer.networks.student.frozen();
        self.trainer.ema.install("", &mut *denoiser);
        let diffusion = self.trainer.student_diffusion.clone();
        Sampled { denoiser, text: self.text.frozen(), diffusion, student_timesteps: self.timesteps.clone() }
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

    fn prompts(&self, captions: &[String]) -> Prompts {
        Prompts {
            captions: self.text.encode(captions),
            null: self.text.encode(&[String::new()]),
            negative: self.text.encode(std::slice::from_ref(&self.objective.teacher.negative)),
        }
    }
}

impl Objective for AddRun<'_> {
    fn step(&mut self, step: u64) -> Result<StepReport, TrainError> {
        let seed = self.recipe.seed;
        let batch = self.loader.load(step).map_err(crate::data_error)?;
        let count = batch.captions.len();
        let first = step * count as u64;
        let draws: Vec<Draw> = (0..count as u64).map(|i| Draw { seed, step, index: first + i }).collect();
        let x_0 = batch.pixels(&self.device);
        let [_, _, h, w] = x_0.0.dims();
        let latents = self.recipe.codec.info();
        let shape = [count, latents.channels, h / latents.reduction, w / latents.reduction];
        let noise = |purpose| normal(seed, step, first, purpose, shape, &self.device);
        let s = Timesteps(draws.iter().map(|d| self.student_timestep(d)).collect());
        let t = Timesteps(draws.iter().map(|d| self.teacher_timestep(d)).collect());

        let size = self.trainer.networks.features.input_size();
        let embedding_size = self.trainer.networks.image_encoder.as_ref().map_or(size, |e| e.input_size());
        let augmented = |x: Tensor<4>, purpose| {
            let augment = &self.objective.adversarial.augment;
            let each: Vec<_> = draws.iter().map(|draw| augment.draw([h, w], draw, purpose)).collect();
            augmented_view(x, &each, [size; 2])
        };
        let inputs = AddInputs {
            x_0: Pixels(x_0.0),
            prompts: self.prompts(&batch.captions),
            generator: StudentInput { s, eps: noise(Purpose::StudentNoise) },
            discriminator: None,
            teacher: TeacherInput {
                t,
                eps: noise(Purpose::TeacherNoise),
                guidance: draws.iter().map(|d| self.guidance(d)).collect(),
            },
            real_view: &|x| augmented(x, Purpose::AugmentReal),
            fake_view: &|x| augmented(x, Purpose::AugmentFake),
            embedding_view: &|x| resize(x, [embedding_size; 2]),
            draws: draws.clone(),
        };
        let steps = self.recipe.run.steps;
        let lr_g = self.objective.generator.lr_at(step, steps);
        let lr_d = self.objective.discriminator.lr_at(step, steps);
        let mut report = self.trainer.step(&inputs, lr_g, lr_d);
        report.number("lr_g", lr_g);
        report.number("lr_d", lr_d);
        if step % WARN_EVERY == WARN_EVERY - 1 {
            warn_of_imbalance(&report);
        }
        Ok(report)
    }

    fn save(&self, state: &mut State) {
        state.save_network("student", &*self.trainer.networks.student);
        state.save_network("heads", &*self.trainer.networks.heads);
        self.trainer.ema.save("ema", state);
        self.trainer.optimizer_g.save("optimizer_g", state);
        self.trainer.optimizer_d.save("optimizer_d", state);
    }

    fn load(&mut self, state: &State) -> Result<(), TrainError> {
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
            t: Timesteps::same(usize::midpoint(low, high), batch),
            eps: normal(draw.seed, 0, 0, Purpose::TeacherNoise, [batch, c, h, w], &self.device),
            guidance: vec![self.guidance(&draw); batch],
        };
        let target = self.trainer.target(&self.prompts(&self.recipe.preview.prompts), &input, x_hat);
        Pixels(codec.decode(add_plugin::Latents(target)).0.clamp(-1.0, 1.0))
    }
}
