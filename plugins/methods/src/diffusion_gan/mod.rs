//! Diffusion GANs of text-to-image models (Xu et al. 2023, UFOGen): the student jumps from noise to a picture, and a denoiser that
//! is trained as a discriminator judges it one jump further down, noised anew. `crates/add-loss/DIFFUSION_GAN.md` maps the equations.

mod charts;
mod check;
mod fields;
mod run;
mod step;
#[cfg(test)]
mod tests;

use add_eval::report::Presentation;
use add_plugin::{PluginError, feature_hooks};
use add_recipe::{
    Method, MethodEntry, MethodRun, NamedModel, Passes, Problems, Recipe, RunContext, Slot,
    passes::{Count, Moment, Pass, Tape},
    slot::{CODEC, HEADS, STUDENT, TEXT, frozen_text_and_codec, model_of},
};
use add_train::{
    health::Alarm,
    networks::{NetworkSet, Role, Training},
};
pub use fields::{DiffusionGan, DiscriminatorPart};

use crate::latent_discriminator::DiscriminatorTraining;

/// The denoiser that is trained as a discriminator.
const DISCRIMINATOR: Role = Role("discriminator");
/// The optimiser of the student.
const OPTIMIZER_G: &str = "optimizer_g";
/// The optimiser of the discriminator and of its heads.
const OPTIMIZER_D: &str = "optimizer_d";

add_plugin::inventory::submit!(MethodEntry::of::<DiffusionGan>("DiffusionGan", "Xu et al. 2023 (UFOGen)"));

impl DiffusionGan {
    /// The student's timesteps, ascending.
    fn timesteps(&self, recipe: &Recipe) -> Vec<usize> {
        self.student_timesteps.resolve(recipe.model.schedule.tables().steps())
    }

    /// How the discriminator is trained.
    fn training(&self) -> DiscriminatorTraining {
        let config = self.discriminator.optimizer;
        DiscriminatorTraining { role: DISCRIMINATOR, optimizer: OPTIMIZER_D, config, file: "discriminator" }
    }
}

impl Method for DiffusionGan {
    fn networks<'a>(&'a self, recipe: &'a Recipe) -> Vec<Slot<'a>> {
        let training =
            Training::averaged(OPTIMIZER_G, self.generator, "student", self.ema_half_life, self.ema_home);
        let [text, codec] = frozen_text_and_codec(recipe);
        let discriminator = &self.discriminator;
        let model = discriminator.model.model(recipe);
        // Blocks that it does not show are refused by `check`.
        let hooks = feature_hooks(&model.backbone, &discriminator.blocks).unwrap_or_default();
        vec![
            Slot::trained(STUDENT, model_of(recipe), training, recipe.dtype.model),
            text,
            self.training().denoiser(recipe, model),
            self.training().heads(&discriminator.heads, hooks),
            codec,
        ]
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
        Ok(Box::new(run::DiffusionGanRun::new(recipe, self, networks, context)))
    }

    fn passes(&self, _recipe: &Recipe) -> Passes {
        let (student, discriminator) =
            (Tape::of(STUDENT.0, STUDENT), Tape::of(DISCRIMINATOR.0, DISCRIMINATOR));
        let heads = |copies| Tape { copies, ..Tape::of("heads, one pass", HEADS) };
        let wide = |role| vec![(role, 1.0)];
        Passes {
            work: vec![
                Pass::taped(STUDENT.0, STUDENT, Count::ThereAndBack),
                // Real latents and fakes, there and back, and the student's turn.
                Pass::taped(DISCRIMINATOR.0, DISCRIMINATOR, Count::Times(8.0)),
                Pass::plain("heads", HEADS, 8.0),
                Pass::encoder("encoder", CODEC),
                Pass::plain("text encoder", TEXT, 1.0),
            ],
            moments: vec![
                Moment {
                    tapes: vec![student.clone(), discriminator.clone(), heads(1.0)],
                    wide: wide(DISCRIMINATOR),
                    ..Moment::default()
                },
                Moment { tapes: vec![student], wide: wide(STUDENT), ..Moment::default() },
                Moment {
                    tapes: vec![Tape { copies: 2.0, ..discriminator }, heads(2.0)],
                    wide: wide(DISCRIMINATOR),
                    gradients: vec![STUDENT],
                    ..Moment::default()
                },
            ],
        }
    }

    fn models<'a>(&'a self, recipe: &'a Recipe) -> Vec<NamedModel<'a>> {
        vec![
            NamedModel::undistilled(recipe, self.timesteps(recipe)),
            NamedModel::teacher(recipe, self.discriminator.model.model(recipe)),
        ]
    }

    fn presentation(&self) -> Presentation {
        charts::PRESENTATION
    }

    fn alarms(&self) -> Vec<Box<dyn Alarm>> {
        charts::alarms()
    }
}
