//! `objective: Add(…)`: Adversarial Diffusion Distillation, with batches and noise drawn from the seed.

use std::path::Path;

use add_data::Feed;
use add_plugin::{Conditioning, Draw, Latents, Pixels, PluginError, Purpose, Timesteps};
use add_recipe::{
    Encodings, MethodRun, Product, Recipe, RunContext, SampledModel, adapters, caption_dropout, data_error,
    preview::{self, PreviewRow},
    slot::{CODEC, STUDENT, TEACHER, TEXT},
};
use add_train::{
    TrainError, distance::Space, networks::NetworkSet, noise::normal, replicas::BatchPart,
    report::StepReport, run::Objective, state::State,
};
use burn::tensor::Device;

use super::{
    Add, DistillationSpace, HEADS_TEXT, HeadsText, TEACHER_CODEC, TEACHER_TEXT,
    inputs::TeacherInput,
    lambda::Balance,
    step::{AddMethod, AddOptions, AddTrainer},
};

/// A distillation run.
pub(super) struct AddRun<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) method: &'a Add,
    pub(super) trainer: AddTrainer<'a>,
    /// The empty caption, encoded.
    pub(super) null: Conditioning,
    /// The negative prompt, encoded.
    pub(super) negative: Conditioning,
    pub(super) feed: Feed,
    pub(super) latents: Encodings,
    pub(super) captions: Encodings,
    /// `c_text`, where it has an encoder of its own.
    pub(super) heads_text: Option<Encodings>,
    /// The text of a teacher with an encoder of its own.
    pub(super) teacher_text: Option<TeacherText>,
    pub(super) balance: Balance,
    pub(super) timesteps: Vec<usize>,
    pub(super) device: Device,
}

/// What the text encoder of a teacher makes of captions, of the empty one and of the negative prompt.
pub(super) struct TeacherText {
    pub(super) text: Encodings,
    pub(super) null: Conditioning,
    pub(super) negative: Conditioning,
}

impl<'a> AddRun<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        method: &'a Add,
        networks: NetworkSet,
        context: RunContext,
    ) -> Self {
        let RunContext { feed, replicas, device } = context;
        let timesteps = method.timesteps(recipe);
        let latents = Encodings::of_codec(recipe, &recipe.codec, networks.codec(CODEC), &device);
        let captions = Encodings::of_text(recipe, &recipe.text, networks.text(TEXT), &device);
        let teacher_text = method.teacher.model.pipeline().map(|own| {
            let network = networks.text(TEACHER_TEXT);
            let text = Encodings::of_text(recipe, &own.text, network, &device);
            let encoded = |caption: &str| text.captions(network, &[caption.to_owned()]);
            let (null, negative) = (encoded(""), encoded(&method.teacher.negative));
            TeacherText { text, null, negative }
        });
        let heads_text = match &method.adversarial.text_encoder {
            HeadsText::Encoder(encoder) if method.adversarial.text_condition => {
                Some(Encodings::of_text(recipe, encoder, networks.text(HEADS_TEXT), &device))
            }
            _ => None,
        };
        let encoded = |caption: &str| captions.captions(networks.text(TEXT), &[caption.to_owned()]);
        let (null, negative) = (encoded(""), encoded(&method.teacher.negative));
        let trainer = AddTrainer {
            networks,
            method: AddMethod {
                student_diffusion: recipe.model.diffusion(recipe.codec.info()),
                teacher_diffusion: method.teacher_model(recipe).diffusion(recipe.codec.info()),
                weighting: &*method.distillation.weighting,
                critic: method.adversarial.critic().map(|critic| &**critic),
                options: method.options(&timesteps),
            },
            replicas,
        };
        let balance = Balance::new(method.distillation.lambda);
        Self {
            recipe,
            method,
            trainer,
            null,
            negative,
            feed,
            latents,
            captions,
            heads_text,
            teacher_text,
            balance,
            timesteps,
            device,
        }
    }

    /// The averaged student.
    fn averaged(&self) -> Result<SampledModel, PluginError> {
        let networks = &self.trainer.networks;
        Ok(SampledModel {
            denoiser: adapters::averaged(self.recipe, networks, STUDENT, &self.device)?,
            text: networks.text(TEXT).frozen(),
            diffusion: self.trainer.method.student_diffusion.clone(),
            student_timesteps: self.timesteps.clone(),
        })
    }
}

impl Add {
    /// The numbers of a step.
    fn options(&self, timesteps: &[usize]) -> AddOptions {
        let (adversarial, distillation) = (&self.adversarial, &self.distillation);
        AddOptions {
            adversarial_weight: adversarial.weight,
            lambda: Balance::new(distillation.lambda).lambda(),
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
            normalize_condition: adversarial.normalize_condition,
            image_condition: adversarial.image_condition,
            teacher_steps: self.teacher.steps,
            last_timestep: timesteps.last().copied().unwrap_or_default(),
            terminal: self.terminal,
        }
    }
}

impl Objective for AddRun<'_> {
    fn step(&mut self, step: u64) -> Result<StepReport, TrainError> {
        let batch = self.feed.batch(step).map_err(data_error)?;
        let Recipe { seed, batch: whole, .. } = *self.recipe;
        let pixels = batch.pixels(&self.device);
        let x_0 = self.latents.latents(self.trainer.networks.codec(CODEC), &pixels);
        let part = |BatchPart { samples, loaded }| {
            let real = (
                Pixels(pixels.0.clone().slice([loaded.clone()])),
                Latents(x_0.0.clone().slice([loaded.clone()])),
            );
            let first = step * whole as u64 + samples.start as u64;
            let dropout = self.method.caption_dropout;
            let captions = caption_dropout(&batch.captions[loaded], dropout, seed, step, first);
            self.part(step, first, real, &captions)
        };
        let parts = self.trainer.replicas.parts(whole).map(part).collect();
        let steps = self.recipe.run.steps;
        let lr_g = self.method.generator.lr_at(step, steps);
        let lr_d = self.method.discriminator.lr_at(step, steps);
        let course = self.method.distillation.course.factor(step, steps);
        self.trainer.method.options.lambda = course * self.balance.lambda();
        let mut report = self.trainer.step(parts, lr_g, lr_d);
        self.balance.measure(&mut report, course);
        if !self.method.distillation.course.is_constant() {
            report.number("course", course);
        }
        report.number("lr_g", lr_g);
        report.number("lr_d", lr_d);
        Ok(report)
    }

    fn save(&self, state: &mut State) {
        self.balance.save(state);
    }

    fn load(&mut self, state: &State) -> Result<(), TrainError> {
        self.balance.load(state)
    }

    fn networks(&mut self) -> &mut NetworkSet {
        &mut self.trainer.networks
    }

    fn preview(&mut self, path: &Path) -> Result<(), TrainError> {
        if self.recipe.preview.prompts.is_empty() {
            return Ok(());
        }
        let student = self.averaged()?;
        let codec = self.trainer.networks.codec(CODEC);
        let mut rows = preview::student_rows(self.recipe, &student, codec, 1.0);
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
        let adapters = adapters::averaged_alone(self.recipe, &self.trainer.networks, STUDENT);
        Product { adapters, ..Product::model(self.recipe, model) }
    }
}

impl AddRun<'_> {
    /// What the teacher would make of the student's pictures: `x_hat_psi` at the middle teacher timestep.
    fn targets(&self, pictures: &Pixels) -> Pixels {
        let networks = &self.trainer.networks;
        let (codec, text) = match self.method.teacher.model.pipeline() {
            None => (networks.codec(CODEC), networks.text(TEXT)),
            Some(_) => (networks.codec(TEACHER_CODEC), networks.text(TEACHER_TEXT)),
        };
        let x_hat = codec.encode(pictures.clone()).0;
        let [batch, c, h, w] = x_hat.dims();
        let (low, high) = self.method.teacher.timesteps;
        let draw = Draw { seed: self.recipe.seed, step: 0, index: 0 };
        let input = TeacherInput {
            t: Timesteps::same(usize::midpoint(low, high) as f64, batch),
            eps: normal(draw.seed, 0, 0, Purpose::TeacherNoise, [batch, c, h, w], &self.device),
            guidance: vec![self.method.teacher.guidance.draw(&draw); batch],
        };
        let captions = &self.recipe.preview.prompts;
        let shared = || self.prompts(text.encode(captions));
        let prompts = self.teacher_prompts(captions).unwrap_or_else(shared);
        let target = self.trainer.method.target(networks.denoiser(TEACHER), &prompts, &input, x_hat);
        Pixels(codec.decode(Latents(target)).0.clamp(-1.0, 1.0))
    }
}
