//! Latent consistency distillation (Luo et al. 2023; Song et al. 2023): the student learns to say from every point of a
//! trajectory of the teacher's guided sampling where it ends. `crates/add-loss/CONSISTENCY.md` maps the equations.

mod charts;
mod check;
mod fields;
mod run;
mod step;
#[cfg(test)]
mod tests;

use add_eval::report::Presentation;
use add_loss::consistency_timesteps;
use add_plugin::PluginError;
use add_recipe::{
    Method, MethodEntry, MethodRun, NamedModel, Passes, Problems, Recipe, RunContext, Slot, Source,
    passes::{Count, Moment, Pass, Tape},
    slot::{CODEC, STUDENT, TEACHER, TEXT, frozen_text_and_codec, model_of},
};
use add_train::{
    health::Alarm,
    networks::{Change, NetworkSet, Role, Training},
};
pub use fields::{Consistency, Target};
pub use step::{ConsistencyInputs, ConsistencyOptions, ConsistencyTrainer};

/// What gives the other end of a solver step: the running average of the student.
pub const TARGET: Role = Role("target network");
/// The optimiser of the student.
pub const OPTIMIZER: &str = "optimizer";

add_plugin::inventory::submit!(MethodEntry::of::<Consistency>("Consistency", "Luo et al. 2023 (LCM)"));

impl Consistency {
    /// The timesteps that the student learns, ascending.
    fn timesteps(&self, recipe: &Recipe) -> Vec<usize> {
        consistency_timesteps(recipe.model.schedule.tables().steps(), self.skip)
    }

    /// How the student is trained.
    fn training(&self) -> Training {
        Training::averaged(OPTIMIZER, self.optimizer, "student", self.ema_half_life, self.ema_home)
    }

    /// How often the teacher computes for one step: with the text, and without it where it is guided.
    fn teacher_passes(&self) -> f64 {
        if self.guidance.is_none() { 1.0 } else { 2.0 }
    }

    /// The role of the network that is asked at the other end of a solver step.
    fn target_role(&self) -> Role {
        match self.target {
            Target::Average => TARGET,
            Target::Student => STUDENT,
        }
    }
}

impl Method for Consistency {
    fn networks<'a>(&'a self, recipe: &'a Recipe) -> Vec<Slot<'a>> {
        let dtype = recipe.dtype;
        let student = Slot::trained(STUDENT, model_of(recipe), self.training(), dtype.model);
        let [text, codec] = frozen_text_and_codec(recipe);
        let mut slots =
            vec![Slot { adapter: recipe.model.adapter.lora(), ..student }, text, self.teacher.slot(recipe)];
        if self.target == Target::Average {
            let target = Slot::frozen(TARGET, Source::BeginningOf(STUDENT), dtype.model);
            slots.push(Slot { change: Change::Follows(STUDENT), ..target });
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
        Ok(Box::new(run::ConsistencyRun::new(recipe, self, networks, context)))
    }

    fn passes(&self, _recipe: &Recipe) -> Passes {
        let (teacher, target) = (self.teacher_passes(), self.target_role());
        // The teacher and the target have done their part before the student's tape begins.
        let alone = |role, times| Moment { wide: vec![(role, times)], ..Moment::default() };
        Passes {
            work: vec![
                Pass::taped(STUDENT.0, STUDENT, Count::ThereAndBack),
                Pass::plain(TEACHER.0, TEACHER, teacher),
                Pass::plain(TARGET.0, target, 1.0),
                Pass::encoder("encoder", CODEC),
                Pass::plain("text encoder", TEXT, 1.0),
            ],
            moments: vec![
                alone(TEACHER, teacher),
                alone(target, 1.0),
                Moment {
                    tapes: vec![Tape::of(STUDENT.0, STUDENT)],
                    wide: vec![(STUDENT, 1.0)],
                    ..Moment::default()
                },
            ],
        }
    }

    fn models<'a>(&'a self, recipe: &'a Recipe) -> Vec<NamedModel<'a>> {
        vec![
            NamedModel::undistilled(recipe, self.timesteps(recipe)),
            NamedModel::teacher(recipe, self.teacher.model(recipe)),
        ]
    }

    fn takes_adapters(&self) -> bool {
        true
    }

    fn presentation(&self) -> Presentation {
        charts::PRESENTATION
    }

    fn alarms(&self) -> Vec<Box<dyn Alarm>> {
        vec![Box::new(charts::ALARM)]
    }
}
