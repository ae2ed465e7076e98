//! Rectified flow and its distillation to one step (Liu et al. 2023, InstaFlow, on Liu et al. 2022).
//!
//! The teacher turns noise into pictures along curved trajectories. Reflow trains a student on pairs of both, at points of the
//! straight line between them; what it learns goes straighter, and to about the same pictures. In the last stage one step from
//! the noise becomes what the straightened model makes in several. The equations are in `add_loss::reflow`, their map in
//! `crates/add-loss/REFLOW.md`.

mod charts;
mod check;
mod fields;
mod pairs;
mod run;
mod step;
#[cfg(test)]
mod tests;

use add_eval::report::Presentation;
use add_plugin::PluginError;
use add_recipe::{
    Method, MethodEntry, MethodRun, NamedModel, Passes, Problems, Recipe, RunContext, Slot, Source,
    passes::{Count, Moment, Pass, Tape},
    slot::{CODEC, FEATURES, STUDENT, TEACHER, TEXT, frozen_text_and_codec, model_of},
};
use add_train::{
    health::Alarm,
    networks::{Change, NetworkSet, Training},
};
pub use fields::{Lesson, Perceptual, Pool, Reflow};

use crate::stages::Stage;

/// The optimiser of the student.
const OPTIMIZER: &str = "optimizer";

add_plugin::inventory::submit!(MethodEntry::of::<Reflow>("Reflow", "Liu et al. 2023 (InstaFlow)"));

/// What the student of a stage learns.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Goal {
    /// The straight flow at every timestep.
    Straighten(Lesson),
    /// The picture in one step from the noise.
    OneStep(Lesson),
}

impl Goal {
    fn lesson(self) -> Lesson {
        match self {
            Self::Straighten(lesson) | Self::OneStep(lesson) => lesson,
        }
    }
}

impl Reflow {
    /// Its stages in their order.
    fn stages(&self) -> Vec<Stage<Goal>> {
        let straighten = (0..self.reflows).map(|_| Goal::Straighten(self.reflow));
        let goals = straighten.chain(self.distillation.map(Goal::OneStep));
        Stage::in_order(goals.map(|goal| (goal, goal.lesson().steps)))
    }

    /// Timesteps that the student of the last stage knows.
    fn timesteps(&self, recipe: &Recipe) -> Vec<usize> {
        let last = recipe.model.schedule.tables().steps() - 1;
        if self.distillation.is_some() { vec![last] } else { Vec::new() }
    }
}

impl Method for Reflow {
    fn networks<'a>(&'a self, recipe: &'a Recipe) -> Vec<Slot<'a>> {
        let dtype = recipe.dtype;
        let training =
            Training::averaged(OPTIMIZER, self.optimizer, "student", self.ema_half_life, self.ema_home);
        let [text, codec] = frozen_text_and_codec(recipe);
        let mut slots = vec![
            Slot::trained(STUDENT, model_of(recipe), training, dtype.model),
            text,
            Slot {
                change: Change::Replaced("teacher"),
                ..Slot::frozen(TEACHER, Source::BeginningOf(STUDENT), dtype.teacher)
            },
        ];
        if let Some(Perceptual { features, .. }) = &self.perceptual {
            slots.push(Slot::frozen(FEATURES, Source::Features(features), dtype.features));
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
        Ok(Box::new(run::ReflowRun::new(recipe, self, networks, context)))
    }

    /// Those of the stage that takes most.
    fn passes(&self, _recipe: &Recipe) -> Passes {
        let copies = |lesson: Lesson| if (lesson.guidance - 1.0).abs() < f64::EPSILON { 1.0 } else { 2.0 };
        let lessons: Vec<Lesson> = self.stages().iter().map(|stage| stage.lesson.lesson()).collect();
        let most = |of: &dyn Fn(Lesson) -> f64| lessons.iter().map(|&lesson| of(lesson)).fold(0.0, f64::max);
        let calls = most(&|lesson| lesson.sampling_steps as f64 * copies(lesson));
        let student = Tape::of(STUDENT.0, STUDENT);
        let moment = |tapes: &[&Tape], role, times| Moment {
            tapes: tapes.iter().map(|&tape| tape.clone()).collect(),
            wide: vec![(role, times)],
            ..Moment::default()
        };
        let uses = self.pool.uses.max(1) as f64;
        let mut passes = Passes {
            work: vec![
                Pass::taped(STUDENT.0, STUDENT, Count::ThereAndBack),
                Pass::plain("teacher's pairs", TEACHER, calls / uses),
                Pass::plain("text encoder", TEXT, 1.0 / uses),
            ],
            moments: vec![moment(&[], TEACHER, most(&copies)), moment(&[&student], STUDENT, 1.0)],
        };
        if self.perceptual.is_some() && self.distillation.is_some() {
            let (decoder, features) = (Tape::of("decoder", CODEC), Tape::of("feature network", FEATURES));
            passes.work.extend([
                // The student's picture, its gradient, and the pair's.
                Pass::taped(decoder.name, CODEC, Count::Times(3.0)),
                Pass::taped(features.name, FEATURES, Count::Times(3.0)),
            ]);
            passes.moments.push(moment(&[&student, &decoder, &features], CODEC, 1.0));
        }
        passes
    }

    fn models<'a>(&'a self, recipe: &'a Recipe) -> Vec<NamedModel<'a>> {
        vec![
            NamedModel::undistilled(recipe, self.timesteps(recipe)),
            NamedModel::teacher(recipe, &recipe.model),
        ]
    }

    fn presentation(&self) -> Presentation {
        charts::PRESENTATION
    }

    fn alarms(&self) -> Vec<Box<dyn Alarm>> {
        charts::alarms(self.stages())
    }
}
