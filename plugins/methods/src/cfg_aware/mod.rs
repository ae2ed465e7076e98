//! Step distillation that knows of classifier-free guidance (Li et al. 2023, SnapFusion, on Salimans and Ho 2022): the number of
//! sampling steps is halved as in progressive distillation, but guided students are compared with guided teachers, and the
//! guidance stays outside. `crates/add-loss/CFG_AWARE.md` maps the equations.

mod check;
mod fields;
mod run;
mod step;
#[cfg(test)]
mod tests;

use add_eval::report::{ChartRule, Presentation};
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
pub use fields::CfgAware;

use crate::stages::{Stage, Stalled};

/// The optimiser of the student.
const OPTIMIZER: &str = "optimizer";

add_plugin::inventory::submit!(MethodEntry::of::<CfgAware>("CfgAware", "Li et al. 2023 (SnapFusion)"));

/// Title, headline and charts.
const PRESENTATION: Presentation = Presentation {
    title: "CFG-aware step distillation",
    headline: &["loss", "stage", "sampling_steps"],
    charts: &[
        ChartRule::new("Loss", "It falls within a stage and begins anew with the next.", &["loss"]),
        ChartRule::new(
            "Terms",
            "Of steps that compare guided outputs, of the others, and of pretraining.",
            &["loss_guided", "loss_step", "loss_original"],
        ),
        ChartRule::new("Stage", "At the end of each, the averaged student becomes the teacher.", &["stage"]),
        ChartRule::new("Sampling steps of the stage's student", "", &["sampling_steps"]),
    ],
};

impl CfgAware {
    /// Its stages in their order, each with the number of sampling steps of its student.
    fn stages(&self) -> Vec<Stage<usize>> {
        Stage::in_order(self.halving.stages())
    }

    /// How often a network computes where the samples of a step may be guided: on average, and at most.
    fn copies(&self) -> [f64; 2] {
        if self.guidance.is_none() || self.cfg_probability <= 0.0 {
            return [1.0, 1.0];
        }
        [1.0 + self.cfg_probability, 2.0]
    }
}

impl Method for CfgAware {
    fn networks<'a>(&'a self, recipe: &'a Recipe) -> Vec<Slot<'a>> {
        let training =
            Training::averaged(OPTIMIZER, self.optimizer, "student", self.ema_half_life, self.ema_home);
        let [text, codec] = frozen_text_and_codec(recipe);
        vec![
            Slot::trained(STUDENT, model_of(recipe), training, recipe.dtype.model),
            text,
            Slot {
                change: Change::Replaced("teacher"),
                ..Slot::frozen(TEACHER, Source::BeginningOf(STUDENT), recipe.dtype.teacher)
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
        Ok(Box::new(run::CfgAwareRun::new(recipe, self, networks, context)))
    }

    fn passes(&self, _recipe: &Recipe) -> Passes {
        let [mean, most] = self.copies();
        Passes {
            work: vec![
                Pass::taped(STUDENT.0, STUDENT, Count::Times(3.0 * mean)),
                Pass::plain(TEACHER.0, TEACHER, 2.0 * mean),
                Pass::encoder("encoder", CODEC),
                Pass::plain("text encoder", TEXT, 1.0),
            ],
            moments: vec![
                Moment { wide: vec![(TEACHER, most)], ..Moment::default() },
                Moment {
                    tapes: vec![Tape { copies: most, ..Tape::of(STUDENT.0, STUDENT) }],
                    wide: vec![(STUDENT, most)],
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
        PRESENTATION
    }

    fn alarms(&self) -> Vec<Box<dyn Alarm>> {
        vec![Box::new(Stalled::new(self.stages()))]
    }
}
