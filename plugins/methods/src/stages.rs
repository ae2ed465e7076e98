//! The stages of a run: each trains a student that begins where the last one ended.

use add_plugin::Denoiser;
use add_recipe::{
    Problems, Recipe,
    slot::{STUDENT, TEACHER},
};
use add_train::{
    TrainError, health::Alarm, networks::NetworkSet, optimizer::AdamWConfig, report::StepReport, state::State,
};

/// A stage: the training steps of one student, which learns a lesson `L`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stage<L> {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// What its student learns.
    pub(crate) lesson: L,
    /// Its first step.
    pub(crate) first: u64,
    /// How many steps it has.
    pub(crate) steps: u64,
}

impl<L> Stage<L> {
    /// The stages of `lessons` with their numbers of steps, one after the other.
    pub(crate) fn in_order(lessons: impl IntoIterator<Item = (L, u64)>) -> Vec<Self> {
        let mut first: u64 = 0;
        let stage = |(i, (lesson, steps)): (usize, (L, u64))| {
            let stage = Self { number: i + 1, lesson, first, steps };
            first = stage.end();
            stage
        };
        lessons.into_iter().enumerate().map(stage).collect()
    }

    /// The step after its last one.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(self.steps)
    }

    /// Learning rate of `step`: after the warm-up it falls to zero along a line within the stage, as in the experiments of
    /// Salimans and Ho 2022.
    pub(crate) fn lr(&self, step: u64, config: &AdamWConfig) -> f64 {
        let done = step.saturating_sub(self.first).min(self.steps);
        let left = (self.steps - done) as f64 / self.steps.max(1) as f64;
        config.lr_at(done, self.steps) * left
    }
}

/// The stage of `step`; what comes after the last stage belongs to it.
fn stage_at<L>(stages: &[Stage<L>], step: u64) -> Option<&Stage<L>> {
    stages.iter().find(|stage| step < stage.end()).or(stages.last())
}

/// The number of a checkpoint that says how many stages are finished.
const FINISHED: &str = "stages";

/// How far a run is in its stages: the teacher is the student of the last one that is finished.
#[derive(Debug)]
pub(crate) struct Staged<L> {
    stages: Vec<Stage<L>>,
    finished: usize,
}

impl<L: Copy> Staged<L> {
    /// At the beginning of stages, of which there is at least one.
    pub(crate) fn new(stages: Vec<Stage<L>>) -> Self {
        Self { stages, finished: 0 }
    }

    /// The stage of `step`.
    ///
    /// # Panics
    /// Without stages.
    pub(crate) fn at(&self, step: u64) -> Stage<L> {
        *stage_at(&self.stages, step).expect("the recipe was checked: it has a stage")
    }

    /// The last stage that is finished.
    pub(crate) fn last_finished(&self) -> Option<&Stage<L>> {
        self.stages.get(self.finished.checked_sub(1)?)
    }

    /// The first stage that is not finished.
    pub(crate) fn current(&self) -> Option<&Stage<L>> {
        self.stages.get(self.finished)
    }

    /// The current stage, or the last one after the end.
    pub(crate) fn current_or_last(&self) -> Option<&Stage<L>> {
        self.current().or(self.stages.last())
    }

    /// After `step` with the learning rate `lr`: adds both numbers to the report, and at the end of a stage hands over, see
    /// [`hand_over`]. Whether it did.
    pub(crate) fn stepped(
        &mut self,
        step: u64,
        lr: f64,
        networks: &mut NetworkSet,
        optimizer: &'static str,
        report: &mut StepReport,
    ) -> bool {
        let stage = self.at(step);
        report.number("lr", lr);
        report.number("stage", stage.number as f64);
        let is_last = step + 1 == stage.end();
        if is_last {
            hand_over(networks, optimizer);
            self.finished = stage.number;
        }
        is_last
    }

    /// The model that the last finished stage has made, or the teacher that a run begins with.
    pub(crate) fn finished_denoiser(&self, networks: &NetworkSet) -> Box<dyn Denoiser> {
        // After the last stage both are the same, but the teacher may be held in fewer bits.
        match self.current() {
            None => networks.averaged_denoiser(STUDENT),
            Some(_) => networks.denoiser(TEACHER).frozen(),
        }
    }

    /// Adds how far it is.
    pub(crate) fn save(&self, state: &mut State) {
        state.set_number(FINISHED, self.finished as u64);
    }

    /// Restores it.
    ///
    /// # Errors
    /// When it is missing.
    pub(crate) fn load(&mut self, state: &State) -> Result<(), TrainError> {
        self.finished = (state.number(FINISHED)? as usize).min(self.stages.len());
        Ok(())
    }
}

/// At the end of a stage: the averaged student becomes the teacher and the next stage's student, whose optimiser, `name`, and
/// average begin anew.
pub(crate) fn hand_over(networks: &mut NetworkSet, name: &'static str) {
    networks.hand_over(STUDENT, &[TEACHER, STUDENT]);
    networks.restart(name);
}

/// Adds what does not hold of the steps of a run's `stages`, and of the optimiser whose learning rate falls within each.
pub(crate) fn check<L>(p: &mut Problems, recipe: &Recipe, stages: &[Stage<L>], optimizer: &AdamWConfig) {
    p.require(optimizer.cool_down == 0, "objective.optimizer.cool_down", || {
        format!(
            "expected 0: the learning rate falls to zero along a line within each stage, got {}",
            optimizer.cool_down
        )
    });
    let total = stages.last().map_or(0, Stage::end);
    p.require(recipe.run.steps == total, "run.steps", || {
        let each: Vec<String> = stages.iter().map(|stage| stage.steps.to_string()).collect();
        format!("expected {total}, the steps of all stages ({}), got {}", each.join(" + "), recipe.run.steps)
    });
    let shortest = stages.iter().map(|stage| stage.steps).min().unwrap_or(0);
    p.require(optimizer.warm_up < shortest.max(1), "objective.optimizer.warm_up", || {
        format!("expected less than {shortest}, the steps of the shortest stage, got {}", optimizer.warm_up)
    });
}

/// Part of a stage at its beginning and at its end over which the loss is averaged.
const PART: u64 = 5;
/// Fewest steps in such a part: the loss of one step depends on what is drawn.
const FEWEST: u64 = 10;

/// A stage whose student ends no nearer to its target than it began has made the model worse.
pub(crate) struct Stalled<L> {
    stages: Vec<Stage<L>>,
    beginning: Mean,
    end: Mean,
}

/// A mean of losses.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn value(&self) -> f64 {
        self.sum / self.count as f64
    }
}

impl<L> Stalled<L> {
    pub(crate) fn new(stages: Vec<Stage<L>>) -> Self {
        Self { stages, beginning: Mean::default(), end: Mean::default() }
    }
}

impl<L> Alarm for Stalled<L> {
    fn look(&mut self, step: u64, report: &StepReport) -> Option<String> {
        let (loss, stage) = (report.get("loss")?, stage_at(&self.stages, step)?);
        let (done, part) = (step.checked_sub(stage.first)?, stage.steps / PART);
        if done == 0 {
            (self.beginning, self.end) = (Mean::default(), Mean::default());
        }
        if done < part {
            self.beginning.add(loss);
        } else if done + part >= stage.steps {
            self.end.add(loss);
        }
        let (before, after) = (self.beginning, self.end);
        // A run that was resumed within the stage has not seen its beginning.
        let seen = before.count == part && after.count == part && part >= FEWEST;
        let worse = seen && done + 1 == stage.steps && after.value() >= before.value();
        worse.then(|| {
            format!(
                "stage {} ended no nearer to its target than it began: a loss of {:.3e} after {:.3e}; give it more steps, or \
                 lower optimizer.lr",
                stage.number,
                after.value(),
                before.value()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said over two stages of 100 steps each, whose losses `loss` gives by step.
    fn said(from: u64, loss: impl Fn(u64) -> f64) -> Vec<u64> {
        let mut alarm = Stalled::new(Stage::in_order([((), 100), ((), 100)]));
        let told = |step: u64| {
            let mut report = StepReport::default();
            report.number("loss", loss(step));
            alarm.look(step, &report).map(|_| step)
        };
        (from..200).filter_map(told).collect()
    }

    #[test]
    fn a_stage_that_ends_worse_than_it_began_is_told_at_its_end() {
        assert_eq!(said(0, |step| if step < 120 { 1.0 } else { 2.0 }), [99, 199]);
        assert_eq!(said(0, |step| 1.0 - (step % 100) as f64 / 100.0), [0; 0]);
        // The second stage begins higher; that is no verdict on it.
        assert_eq!(said(0, |step| (1 + step / 100) as f64 - (step % 100) as f64 / 200.0), [0; 0]);
        assert_eq!(said(50, |_| 1.0), [199], "the beginning of the first was not seen");
    }
}
