//! Adversarial Diffusion Distillation (Sauer et al. 2023), ADD Eq. (1).

mod alarms;
mod batch;
mod charts;
mod check;
mod course;
mod fields;
mod inputs;
mod lambda;
mod part;
mod run;
mod step;

use add_eval::report::Presentation;
use add_plugin::{Either, PluginError};
use add_recipe::{
    Condition, Hooks, Method, MethodEntry, MethodRun, Model, NamedModel, Passes, Problems, Recipe,
    RunContext, Slot, Source,
    passes::{Count, Moment, Pass, Share, Tape},
    slot::{
        CODEC, DISTILLATION_CODEC, FEATURES, HEADS, IMAGE_ENCODER, STUDENT, TEACHER, TEXT,
        frozen_text_and_codec, model_of,
    },
};
use add_train::{
    health::Alarm,
    networks::{NetworkSet, Role, Training},
};
pub use course::Course;
pub use fields::{
    Add, Adversarial, Distillation, DistillationSpace, Fakes, HeadsText, ImageEncoder, TeacherModel,
    TeacherPart, TeacherPipeline,
};
pub use inputs::{AddInputs, PictureView, Prompts, TeacherInput};
pub use lambda::Lambda;
pub use step::{AddMethod, AddNetworks, AddOptions, AddTrainer, ImageCondition};

pub use crate::{
    critic::{CriticLevels, Level},
    student::{Simulation, StudentInput, StudentTimesteps, Terminal},
};

/// The optimiser of the student.
pub const OPTIMIZER_G: &str = "optimizer_g";
/// The encoder of `c_text`, where it is not the denoiser's.
const HEADS_TEXT: Role = Role("text for the heads");

/// The text encoder of a teacher that has one of its own.
const TEACHER_TEXT: Role = Role("teacher's text");
/// The codec of a teacher that has one of its own.
const TEACHER_CODEC: Role = Role("teacher's codec");

/// The optimiser of the heads.
pub const OPTIMIZER_D: &str = "optimizer_d";

add_plugin::inventory::submit!(MethodEntry::of::<Add>("Add", "ADD, Eq. (1)"));

impl Add {
    /// The model that teaches.
    fn teacher_model<'a>(&'a self, recipe: &'a Recipe) -> &'a Model {
        match &self.teacher.model {
            TeacherModel::Initial() => &recipe.model,
            TeacherModel::Other(model) => model,
            TeacherModel::Pipeline(pipeline) => &pipeline.model,
        }
    }

    /// The student's timesteps, ascending.
    fn timesteps(&self, recipe: &Recipe) -> Vec<usize> {
        self.student_timesteps.resolve(recipe.model.schedule.tables().steps())
    }

    /// How the student is trained.
    fn student_training(&self) -> Training {
        Training::averaged(OPTIMIZER_G, self.generator, "student", self.ema_half_life, self.ema_home)
    }

    /// How the heads are trained.
    fn heads_training(&self) -> Training {
        Training {
            optimizer: OPTIMIZER_D,
            config: self.discriminator,
            file: "heads",
            prefix: "",
            average: None,
        }
    }

    /// What the heads are conditioned on.
    fn condition(&self) -> Vec<Condition> {
        let adversarial = &self.adversarial;
        let encoder = match adversarial.text_encoder {
            HeadsText::Denoiser => TEXT,
            HeadsText::Encoder(_) => HEADS_TEXT,
        };
        let text = adversarial.text_condition.then_some(Condition::Pooled(encoder));
        let image = match (adversarial.image_condition, &adversarial.image_encoder) {
            (ImageCondition::Off, _) => None,
            (_, ImageEncoder::Features) => Some(Condition::Embedding(FEATURES)),
            (_, ImageEncoder::Network(_)) => Some(Condition::Embedding(IMAGE_ENCODER)),
        };
        text.into_iter().chain(image).collect()
    }
}

impl Method for Add {
    fn networks<'a>(&'a self, recipe: &'a Recipe) -> Vec<Slot<'a>> {
        let (adversarial, dtype) = (&self.adversarial, recipe.dtype);
        let student = Slot::trained(STUDENT, model_of(recipe), self.student_training(), dtype.model);
        let teacher = match &self.teacher.model {
            TeacherModel::Initial() => Source::BeginningOf(STUDENT),
            TeacherModel::Other(model) => Source::Model { model, text: &recipe.text, codec: &recipe.codec },
            TeacherModel::Pipeline(own) => {
                Source::Model { model: &own.model, text: &own.text, codec: &own.codec }
            }
        };
        let [text, codec] = frozen_text_and_codec(recipe);
        // A teacher that does not show what the critic looks at is refused by `check`.
        let on = match adversarial.critic() {
            None => Hooks::Network(FEATURES),
            Some(critic) => {
                Hooks::Blocks(TEACHER, critic.hooks(&self.teacher_model(recipe).backbone).unwrap_or_default())
            }
        };
        let heads = Source::Heads { heads: &adversarial.heads, on, condition: self.condition() };
        let mut slots = vec![
            Slot { adapter: recipe.model.adapter.lora(), ..student },
            text,
            Slot::frozen(TEACHER, teacher, dtype.teacher),
        ];
        if let Some(TeacherPipeline { model, text: encoder, codec }) = self.teacher.model.pipeline() {
            slots.extend([
                Slot::frozen(TEACHER_TEXT, Source::Text { encoder, model }, dtype.text),
                Slot::frozen(TEACHER_CODEC, Source::Codec(codec), dtype.codec),
            ]);
        }
        if let Either::First(features) = &adversarial.features {
            slots.push(Slot::frozen(FEATURES, Source::Features(features), dtype.features));
        }
        if let HeadsText::Encoder(encoder) = &adversarial.text_encoder {
            let source = Source::Text { encoder, model: &recipe.model };
            slots.push(Slot::frozen(HEADS_TEXT, source, dtype.text));
        }
        if let ImageEncoder::Network(network) = &adversarial.image_encoder {
            slots.push(Slot::frozen(IMAGE_ENCODER, Source::Features(network), dtype.features));
        }
        slots.push(Slot::trained(HEADS, heads, self.heads_training(), add_recipe::Dtype::F32));
        if let Some(decoder) = self.distillation.space.codec() {
            slots.push(Slot::frozen(DISTILLATION_CODEC, Source::Codec(decoder), dtype.codec));
        }
        slots.push(codec);
        slots
    }

    fn check(&self, recipe: &Recipe, problems: &mut Problems) {
        check::check(problems, recipe, self);
    }

    fn start<'a>(
        &'a self,
        recipe: &'a Recipe,
        networks: NetworkSet,
        context: RunContext,
    ) -> Result<Box<dyn MethodRun + 'a>, PluginError> {
        Ok(Box::new(run::AddRun::new(recipe, self, networks, context)))
    }

    fn passes(&self, recipe: &Recipe) -> Passes {
        let mut passes = Passes {
            work: vec![
                Pass::taped(STUDENT.0, STUDENT, Count::ThereAndBack),
                Pass::encoder("encoder", CODEC),
                Pass::plain("text encoder", TEXT, 1.0),
            ],
            moments: vec![Moment {
                tapes: vec![Tape::of(STUDENT.0, STUDENT)],
                wide: vec![(STUDENT, 1.0)],
                ..Moment::default()
            }],
        };
        if self.adversarial.weight > 0.0 {
            self.adversarial_passes(&mut passes);
        }
        if !self.distillation.lambda.is_off() {
            self.distillation_passes(recipe, &mut passes);
        }
        passes
    }

    fn models<'a>(&'a self, recipe: &'a Recipe) -> Vec<NamedModel<'a>> {
        let mut teacher = NamedModel::teacher(recipe, self.teacher_model(recipe));
        if let Some(own) = self.teacher.model.pipeline() {
            (teacher.text, teacher.codec) = (&own.text, &own.codec);
        }
        vec![NamedModel::undistilled(recipe, self.timesteps(recipe)), teacher]
    }

    fn takes_adapters(&self) -> bool {
        true
    }

    fn presentation(&self) -> Presentation {
        charts::PRESENTATION
    }

    fn alarms(&self) -> Vec<Box<dyn Alarm>> {
        alarms::alarms()
    }
}

impl Add {
    /// Eq. (2) and (3).
    fn adversarial_passes(&self, passes: &mut Passes) {
        let embeds = self.adversarial.image_condition != ImageCondition::Off;
        // Tapes of fakes, reals, and the reals' tangent with its primal values.
        let heads = Tape { copies: 4.0, ..Tape::of("heads, one pass", HEADS) };
        let student = Tape::of(STUDENT.0, STUDENT);
        // Fakes 1 + 2; reals for R1 1 + 1; tangents and values 2 + 4; the student's turn 1 + 1.
        passes.work.push(Pass::plain("heads", HEADS, 13.0));
        if self.adversarial.critic().is_some() {
            let name = "teacher for the heads";
            passes.work.push(Pass::taped(name, TEACHER, Count::Times(3.0)));
            passes.moments.push(Moment {
                tapes: vec![student, Tape::of(name, TEACHER), heads],
                wide: vec![(TEACHER, 1.0)],
                hooked: Vec::new(),
                gradients: vec![HEADS],
            });
        } else {
            passes.work.extend([
                // Fakes and their gradient.
                Pass::taped("decoder for the heads", CODEC, Count::Times(2.0)),
                Pass::taped("feature network", FEATURES, Count::Times(3.0)),
            ]);
            passes.moments.push(Moment {
                tapes: vec![
                    student,
                    Tape::of("decoder for the heads", CODEC),
                    Tape::of("feature network", FEATURES),
                    heads,
                ],
                wide: vec![(CODEC, 1.0)],
                hooked: vec![FEATURES],
                gradients: vec![HEADS],
            });
        }
        if !self.adversarial.fakes.are_shared() {
            passes.work.extend([
                Pass::plain("independent fakes", STUDENT, 1.0),
                Pass::plain("their decoder", CODEC, 1.0),
                Pass::plain("their features", FEATURES, 1.0),
            ]);
        }
        if let HeadsText::Encoder(_) = &self.adversarial.text_encoder {
            passes.work.push(Pass::plain(HEADS_TEXT.0, HEADS_TEXT, 1.0));
        }
        match &self.adversarial.image_encoder {
            _ if !embeds => {}
            ImageEncoder::Features => passes.work.push(Pass::plain("c_img", FEATURES, 1.0)),
            ImageEncoder::Network(_) => {
                passes.work.push(Pass::plain("image encoder", IMAGE_ENCODER, 1.0));
            }
        }
    }

    /// Eq. (4).
    fn distillation_passes(&self, recipe: &Recipe, passes: &mut Passes) {
        let teacher = &self.teacher;
        let copies = if teacher.guidance.is_none() { 1.0 } else { 2.0 };
        passes.work.push(Pass::plain("teacher", TEACHER, teacher.steps as f64 * copies));
        passes.moments.push(Moment {
            tapes: vec![Tape::of(STUDENT.0, STUDENT)],
            wide: vec![(TEACHER, copies)],
            ..Moment::default()
        });
        if teacher.model.pipeline().is_some() {
            passes.work.extend([
                Pass::plain("decoder for the teacher", CODEC, 1.0),
                Pass::encoder("teacher's encoder", TEACHER_CODEC),
                Pass::plain("teacher's decoder", TEACHER_CODEC, 1.0),
                Pass::plain("teacher's text", TEACHER_TEXT, 1.0),
            ]);
            passes.moments.push(Moment {
                tapes: vec![Tape::of(STUDENT.0, STUDENT)],
                wide: vec![(TEACHER_CODEC, 1.0)],
                ..Moment::default()
            });
        }
        let side = (recipe.data.size() / recipe.codec.info().reduction) as f64;
        let (decoder, share) = match &self.distillation.space {
            DistillationSpace::Latent => return,
            DistillationSpace::Pixel => (CODEC, 1.0),
            DistillationSpace::PixelBy(_) => (DISTILLATION_CODEC, 1.0),
            DistillationSpace::Crop { size } => (CODEC, (*size as f64 / side).powi(2)),
        };
        let (name, share) = ("decoder for the distance", Share::OfDistance(share));
        // The student's picture, its gradient, and the target.
        passes.work.push(Pass { share, ..Pass::taped(name, decoder, Count::Times(3.0)) });
        passes.moments.push(Moment {
            tapes: vec![Tape::of(STUDENT.0, STUDENT), Tape { share, ..Tape::of(name, decoder) }],
            wide: vec![(decoder, 1.0)],
            ..Moment::default()
        });
    }
}
