//! Improved distribution matching distillation (Yin et al. 2024, DMD2, on Yin et al. 2023, DMD): the student moves towards the
//! distribution that the teacher knows, by the difference of two scores, and a discriminator on real pictures takes it
//! further. `crates/add-loss/DMD2.md` maps the equations.

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
    slot::{CODEC, HEADS, STUDENT, TEACHER, TEXT, frozen_text_and_codec, model_of},
};
use add_train::{
    health::Alarm,
    networks::{NetworkSet, Role, Training},
};
pub use fields::{Dmd2, Gan};

use crate::latent_discriminator::DiscriminatorTraining;

/// What knows the distribution of the student's pictures.
const FAKES: Role = Role("fake denoiser");
/// The optimiser of the student.
const OPTIMIZER_G: &str = "optimizer_g";
/// The optimiser of the denoiser of fakes and of its heads.
const OPTIMIZER_FAKES: &str = "optimizer_fakes";

add_plugin::inventory::submit!(MethodEntry::of::<Dmd2>("Dmd2", "Yin et al. 2024 (DMD2)"));

impl Dmd2 {
    /// The student's timesteps, ascending.
    fn timesteps(&self, recipe: &Recipe) -> Vec<usize> {
        self.student_timesteps.resolve(recipe.model.schedule.tables().steps())
    }

    /// How the denoiser of fakes is trained.
    fn fakes(&self) -> DiscriminatorTraining {
        DiscriminatorTraining { role: FAKES, optimizer: OPTIMIZER_FAKES, config: self.fakes, file: "fakes" }
    }
}

impl Method for Dmd2 {
    fn networks<'a>(&'a self, recipe: &'a Recipe) -> Vec<Slot<'a>> {
        let training =
            Training::averaged(OPTIMIZER_G, self.generator, "student", self.ema_half_life, self.ema_home);
        let [text, codec] = frozen_text_and_codec(recipe);
        let teacher = self.teacher.model(recipe);
        let mut slots = vec![
            Slot::trained(STUDENT, model_of(recipe), training, recipe.dtype.model),
            text,
            self.teacher.slot(recipe),
            self.fakes().denoiser(recipe, teacher),
        ];
        if let Some(gan) = &self.gan {
            // Blocks that it does not show are refused by `check`.
            let hooks = feature_hooks(&teacher.backbone, &gan.blocks).unwrap_or_default();
            slots.push(self.fakes().heads(&gan.heads, hooks));
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
        Ok(Box::new(run::Dmd2Run::new(recipe, self, networks, context)))
    }

    /// Those of a step in which the student moves, the fullest; its passes are counted by how often it does.
    fn passes(&self, _recipe: &Recipe) -> Passes {
        let (turn, copies) =
            (1.0 / self.updates.max(1) as f64, if self.guidance.is_none() { 1.0 } else { 2.0 });
        let (student, fakes) = (Tape::of(STUDENT.0, STUDENT), Tape::of(FAKES.0, FAKES));
        let mut passes = Passes {
            work: vec![
                Pass::taped(STUDENT.0, STUDENT, Count::Times(1.0 + 2.0 * turn)),
                Pass::plain(TEACHER.0, TEACHER, copies * turn),
                Pass::taped(FAKES.0, FAKES, Count::ThereAndBack),
                Pass::plain("fakes compared", FAKES, turn),
                Pass::encoder("encoder", CODEC),
                Pass::plain("text encoder", TEXT, 1.0),
            ],
            moments: vec![
                Moment { tapes: vec![student.clone()], wide: vec![(TEACHER, copies)], ..Moment::default() },
                Moment { tapes: vec![student.clone()], wide: vec![(STUDENT, 1.0)], ..Moment::default() },
                Moment {
                    tapes: vec![fakes.clone()],
                    wide: vec![(FAKES, 1.0)],
                    gradients: vec![STUDENT],
                    ..Moment::default()
                },
            ],
        };
        if self.gan.is_some() {
            let heads = |copies| Tape { copies, ..Tape::of("heads, one pass", HEADS) };
            passes.work.extend([
                // Real pictures and fakes, there and back, and the student's turn.
                Pass::taped("discriminator", FAKES, Count::Times(6.0 + 2.0 * turn)),
                Pass::plain("heads", HEADS, 6.0 + 2.0 * turn),
            ]);
            passes.moments.extend([
                Moment {
                    tapes: vec![student, fakes.clone(), heads(1.0)],
                    wide: vec![(FAKES, 1.0)],
                    ..Moment::default()
                },
                Moment {
                    tapes: vec![Tape { copies: 3.0, ..fakes }, heads(2.0)],
                    wide: vec![(FAKES, 1.0)],
                    gradients: vec![STUDENT],
                    ..Moment::default()
                },
            ]);
        }
        passes
    }

    fn models<'a>(&'a self, recipe: &'a Recipe) -> Vec<NamedModel<'a>> {
        vec![
            NamedModel::undistilled(recipe, self.timesteps(recipe)),
            NamedModel::teacher(recipe, self.teacher.model(recipe)),
        ]
    }

    fn presentation(&self) -> Presentation {
        charts::PRESENTATION
    }

    fn alarms(&self) -> Vec<Box<dyn Alarm>> {
        charts::alarms()
    }
}
