//! `objective: Add(…)`: Adversarial Diffusion Distillation, with batches and noise drawn from the seed.

use std::{collections::BTreeMap, path::Path};

use add_data::Feed;
use add_loss::{augmented_view, resize};
use add_plugin::{Conditioning, Content, Draw, Latents, Pixels, PluginError, Purpose, Timesteps};
use add_recipe::{
    Encodings, MethodRun, Product, Recipe, RunContext, SampledModel, adapters, caption_dropout, data_error,
    in_bf16,
    preview::{self, PreviewRow},
    slot::{CODEC, FEATURES, IMAGE_ENCODER, STUDENT, TEACHER, TEXT},
};
use add_train::{
    TrainError,
    distance::Space,
    networks::{AnyNetwork, NetworkSet},
    noise::normal,
    report::StepReport,
    run::Objective,
    state::State,
};
use add_weights::NamedTensor;
use burn::tensor::{Device, Tensor};

use super::{
    Add, DistillationSpace, Guidance,
    inputs::{AddInputs, Prompts, StudentInput, TeacherInput, View},
    simulation::Simulation,
    step::{AddMethod, AddOptions, AddTrainer},
};

/// A distillation run.
pub(super) struct AddRun<'a> {
    recipe: &'a Recipe,
    method: &'a Add,
    trainer: AddTrainer<'a>,
    /// The empty caption, encoded.
    null: Conditioning,
    /// The negative prompt, encoded.
    negative: Conditioning,
    feed: Feed,
    encodings: Encodings,
    timesteps: Vec<usize>,
    device: Device,
}

impl<'a> AddRun<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        method: &'a Add,
        networks: NetworkSet,
        context: RunContext,
    ) -> Self {
        let RunContext { feed, shards, device } = context;
        let timesteps = method.timesteps(recipe);
        let encodings = Encodings::new(recipe, networks.codec(CODEC), networks.text(TEXT), &device);
        let encoded = |caption: &str| encodings.captions(networks.text(TEXT), &[caption.to_owned()]);
        let (null, negative) = (encoded(""), encoded(&method.teacher.negative));
        let trainer = AddTrainer {
            networks,
            method: AddMethod {
                student_diffusion: recipe.model.diffusion(),
                teacher_diffusion: method.teacher_model(recipe).diffusion(),
                weighting: &*method.distillation.weighting,
                options: method.options(&timesteps),
            },
            shards,
        };
        Self { recipe, method, trainer, null, negative, feed, encodings, timesteps, device }
    }

    /// The averaged student.
    fn averaged(&self) -> Result<SampledModel, PluginError> {
        let networks = &self.trainer.networks;
        let mut denoiser = networks.averaged_denoiser(STUDENT);
        if let Some(lora) = self.recipe.model.adapter.lora() {
            let merged = adapters::merged(self.recipe, lora, &*denoiser, &self.device)?;
            denoiser = in_bf16::denoiser(merged, self.recipe.dtype.model);
        }
        Ok(SampledModel {
            denoiser,
            text: networks.text(TEXT).frozen(),
            diffusion: self.trainer.method.student_diffusion.clone(),
            student_timesteps: self.timesteps.clone(),
        })
    }

    /// The averaged adapters by the names of peft; none where the student has none.
    fn averaged_adapters(&self) -> BTreeMap<String, NamedTensor> {
        let Some(lora) = self.recipe.model.adapter.lora() else { return BTreeMap::new() };
        let denoiser = self.trainer.networks.averaged_denoiser(STUDENT);
        let component = self.recipe.model.backbone.component();
        let prefix = match component.as_ref().map(|component| &component.content) {
            Some(Content::Network { prefix, .. }) => *prefix,
            _ => "",
        };
        adapters::alone(&*denoiser, lora, prefix, "unet.")
    }

    /// A student timestep, drawn by the recipe's weights.
    fn student_timestep(&self, draw: &Draw) -> usize {
        let weights = &self.method.timestep_weights;
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
        let (low, high) = self.method.teacher.timesteps;
        low + draw.below(Purpose::TeacherTimestep, high - low + 1)
    }

    fn guidance(&self, draw: &Draw) -> f64 {
        match self.method.teacher.guidance {
            Guidance::Fixed(scale) => scale,
            Guidance::Uniform(low, high) => low + draw.uniform(Purpose::Guidance) * (high - low),
        }
    }

    fn prompts(&self, captions: Conditioning) -> Prompts {
        Prompts { captions, null: self.null.clone(), negative: self.negative.clone() }
    }

    /// Which of the samples at `s` are simulated; `None` if none is. `shape` is that of the latents.
    fn simulation(&self, draws: &[Draw], s: &Timesteps, shape: [usize; 4]) -> Option<Simulation> {
        let last = *self.timesteps.last().expect("the recipe was checked");
        let part = self.method.backward_simulation;
        let simulated = |(draw, &s): (&Draw, &usize)| s != last && draw.uniform(Purpose::Simulation) < part;
        let rows: Vec<bool> = draws.iter().zip(&s.0).map(simulated).collect();
        let (first, _) = (draws.first()?, rows.iter().find(|simulated| **simulated)?);
        let [b, c, h, w] = shape;
        let levels = self.timesteps.len();
        let Draw { seed, step, index } = *first;
        let noise = normal(seed, step, index, Purpose::SimulationNoise, [b, levels * c, h, w], &self.device);
        let path = self.timesteps.iter().rev().copied().zip(noise.split(c, 1)).collect();
        Some(Simulation { rows, path })
    }

    /// A part of the batch, of which `first` is the first sample's number in the whole run.
    fn part(&self, step: u64, first: u64, real: (Pixels, Latents), captions: Conditioning) -> AddInputs<'a> {
        let (seed, (pixels, x_0)) = (self.recipe.seed, real);
        let [count, _, h, w] = pixels.0.dims();
        let draws: Vec<Draw> = (0..count as u64).map(|i| Draw { seed, step, index: first + i }).collect();
        let shape = x_0.0.dims();
        let noise = |purpose| normal(seed, step, first, purpose, shape, &self.device);
        let size = self.trainer.networks.features(FEATURES).input_size();
        let embedding_size = match self.trainer.networks.get(IMAGE_ENCODER) {
            Some(AnyNetwork::Features(encoder)) => encoder.input_size(),
            _ => size,
        };
        let augment = &self.method.adversarial.augment;
        let augmented = |purpose| -> View<'a> {
            let each: Vec<_> = draws.iter().map(|draw| augment.draw([h, w], draw, purpose)).collect();
            Box::new(move |x| augmented_view(x, &each, [size; 2]))
        };
        let generator = StudentInput {
            s: Timesteps(draws.iter().map(|d| self.student_timestep(d)).collect()),
            eps: noise(Purpose::StudentNoise),
        };
        AddInputs {
            simulation: self.simulation(&draws, &generator.s, shape),
            pixels,
            x_0,
            prompts: self.prompts(captions),
            discriminator: None,
            teacher: TeacherInput {
                t: Timesteps(draws.iter().map(|d| self.teacher_timestep(d)).collect()),
                eps: correlated(
                    generator.eps.clone(),
                    noise(Purpose::TeacherNoise),
                    self.method.teacher.noise_correlation,
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

impl Add {
    /// The numbers of a step.
    fn options(&self, timesteps: &[usize]) -> AddOptions {
        let (adversarial, distillation) = (&self.adversarial, &self.distillation);
        AddOptions {
            adversarial_weight: adversarial.weight,
            lambda: distillation.lambda,
            distance: distillation.distance,
            space: match distillation.space {
                DistillationSpace::Pixel | DistillationSpace::PixelBy(_) => Space::Pixel,
                DistillationSpace::Crop { size } => Space::Crop(size),
                DistillationSpace::Latent => Space::Latent,
            },
            heads: adversarial.reduction,
            r1: adversarial.r1,
            gamma: adversarial.gamma,
            text_condition: adversarial.text_condition,
            image_condition: adversarial.image_condition,
            teacher_steps: self.teacher.steps,
            last_timestep: timesteps.last().copied().unwrap_or_default(),
            terminal: self.terminal,
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
        let batch = self.feed.batch(step).map_err(data_error)?;
        let Recipe { seed, batch: whole, .. } = *self.recipe;
        let pixels = batch.pixels(&self.device);
        let x_0 = self.encodings.latents(self.trainer.networks.codec(CODEC), &pixels);
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
                let dropout = self.method.caption_dropout;
                let captions = caption_dropout(&batch.captions[here], dropout, seed, step, first);
                let text = self.trainer.networks.text(TEXT);
                self.part(step, first, real, self.encodings.captions(text, &captions))
            })
            .collect();
        let steps = self.recipe.run.steps;
        let lr_g = self.method.generator.lr_at(step, steps);
        let lr_d = self.method.discriminator.lr_at(step, steps);
        let mut report = self.trainer.step(parts, lr_g, lr_d);
        report.number("lr_g", lr_g);
        report.number("lr_d", lr_d);
        Ok(report)
    }

    fn save(&self, state: &mut State) {
        self.trainer.networks.save(state);
    }

    fn load(&mut self, state: &State) -> Result<(), TrainError> {
        self.trainer.networks.load(state)
    }

    fn preview(&mut self, path: &Path) -> Result<(), TrainError> {
        if self.recipe.preview.prompts.is_empty() {
            return Ok(());
        }
        let student = self.averaged()?;
        let codec = self.trainer.networks.codec(CODEC);
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

impl MethodRun for AddRun<'_> {
    fn product(&self) -> Product {
        let model = self.averaged().expect("the backbone was made before");
        Product { adapters: self.averaged_adapters(), ..Product::model(self.recipe, model) }
    }
}

impl AddRun<'_> {
    /// What the teacher would make of the student's pictures: `x_hat_psi` at the middle teacher timestep.
    fn targets(&self, pictures: &Pixels) -> Pixels {
        let codec = self.trainer.networks.codec(CODEC);
        let x_hat = codec.encode(pictures.clone()).0;
        let [batch, c, h, w] = x_hat.dims();
        let (low, high) = self.method.teacher.timesteps;
        let draw = Draw { seed: self.recipe.seed, step: 0, index: 0 };
        let input = TeacherInput {
            t: Timesteps::same(usize::midpoint(low, high), batch),
            eps: normal(draw.seed, 0, 0, Purpose::TeacherNoise, [batch, c, h, w], &self.device),
            guidance: vec![self.guidance(&draw); batch],
        };
        let prompts = self.prompts(self.trainer.networks.text(TEXT).encode(&self.recipe.preview.prompts));
        let AddTrainer { method, networks, .. } = &self.trainer;
        let target = method.target(networks.denoiser(TEACHER), &prompts, &input, x_hat);
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
