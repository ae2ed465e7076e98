//! Guided progressive distillation (Meng et al. 2023, on Salimans and Ho 2022).
//!
//! In the first stage the student learns the teacher's guided estimate of the clean sample, which takes two passes of the
//! teacher and one of the student. Each later stage halves the number of sampling steps: the student of the stage before
//! is the teacher, and two of its deterministic DDIM steps become one of the student. The equations are in
//! `add_loss::progressive`, their map in `crates/add-loss/PROGRESSIVE.md`.

mod charts;
mod check;
mod fields;
mod run;
mod stages;
mod step;
#[cfg(test)]
mod tests;

use add_eval::report::Presentation;
use add_loss::trailing_timesteps;
use add_plugin::PluginError;
use add_recipe::{
    Method, MethodEntry, MethodRun, NamedModel, Passes, Problems, Recipe, RunContext, Slot, Source,
    passes::{Count, Moment, Pass, Tape},
    slot::{CODEC, STUDENT, TEACHER, TEXT, frozen_text_and_codec, model_of},
};
use add_train::{
    health::Alarm,
    networks::{Change, NetworkSet, Training},
};
pub use fields::{GuidanceStage, Halving, Progressive};

use crate::stages::Stalled;

/// The optimiser of the student.
const OPTIMIZER: &str = "optimizer";

add_plugin::inventory::submit!(MethodEntry::of::<Progressive>("Progressive", "Meng et al. 2023"));

impl Progressive {
    /// How the student is trained.
    fn training(&self) -> Training {
        Training::averaged(OPTIMIZER, self.optimizer, "student", self.ema_half_life, self.ema_home)
    }
}

impl Method for Progressive {
    fn networks<'a>(&'a self, recipe: &'a Recipe) -> Vec<Slot<'a>> {
        let dtype = recipe.dtype;
        let [text, codec] = frozen_text_and_codec(recipe);
        vec![
            Slot::trained(STUDENT, model_of(recipe), self.training(), dtype.model),
            text,
            Slot {
                change: Change::Replaced("teacher"),
                ..Slot::frozen(TEACHER, Source::BeginningOf(STUDENT), dtype.teacher)
            },
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
        Ok(Box::new(run::ProgressiveRun::new(recipe, self, networks, context)))
    }

    fn passes(&self, _recipe: &Recipe) -> Passes {
        // With guidance both passes are one of twice the batch; in a halving they follow one another.
        let guided = self.guidance.as_ref().is_some_and(|stage| !stage.scale.is_none());
        Passes {
            work: vec![
                Pass::taped(STUDENT.0, STUDENT, Count::ThereAndBack),
                Pass::plain("teacher", TEACHER, 2.0),
                Pass::encoder("encoder", CODEC),
                Pass::plain("text encoder", TEXT, 1.0),
            ],
            moments: vec![
                Moment { wide: vec![(TEACHER, if guided { 2.0 } else { 1.0 })], ..Moment::default() },
                Moment {
                    tapes: vec![Tape::of(STUDENT.0, STUDENT)],
                    wide: vec![(STUDENT, 1.0)],
                    ..Moment::default()
                },
            ],
        }
    }

    fn models<'a>(&'a self, recipe: &'a Recipe) -> Vec<NamedModel<'a>> {
        let total = recipe.model.schedule.tables().steps();
        vec![
            NamedModel::undistilled(recipe, trailing_timesteps(total, self.halving.to)),
            NamedModel::teacher(recipe, &recipe.model),
        ]
    }

    fn presentation(&self) -> Presentation {
        charts::PRESENTATION
    }

    fn alarms(&self) -> Vec<Box<dyn Alarm>> {
        vec![Box::new(Stalled::new(self.stages()))]
    }
}
