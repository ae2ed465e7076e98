//! How the report shows a progressive distillation, and what warns of one that goes wrong.

use add_eval::report::{ChartRule, Presentation};
use add_train::{health::Alarm, report::StepReport};

use super::stages::{Stage, stage_at};

/// Title, headline and charts.
pub(super) const PRESENTATION: Presentation = Presentation {
    title: "Progressive distillation",
    headline: &["loss", "stage", "sampling_steps"],
    charts: &[
        ChartRule::new(
            "Loss",
            "Weighted squared distance of student and target. It falls within a stage and begins anew with the next.",
            &["loss"],
        ),
        ChartRule::new("Stage", "At the end of each, the averaged student becomes the teacher.", &["stage"]),
        ChartRule::new("Sampling steps of the stage's student", "", &["sampling_steps"]),
    ],
};

/// Part of a stage at its beginning and at its end over which the loss is averaged.
const PART: u64 = 5;
/// Fewest steps in such a part: the loss of one step depends on what is drawn.
const FEWEST: u64 = 10;

/// A stage whose student ends no nearer to its target than it began has made the model worse.
pub(super) struct Stalled {
    stages: Vec<Stage>,
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

impl Stalled {
    pub(super) fn new(stages: Vec<Stage>) -> Self {
        Self { stages, beginning: Mean::default(), end: Mean::default() }
    }
}

impl Alarm for Stalled {
    fn look(&mut self, step: u64, report: &StepReport) -> Option<String> {
        let (loss, stage) = (report.get("loss")?, *stage_at(&self.stages, step)?);
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
    use crate::progressive::{Halving, Progressive};

    /// What is said over two stages of 100 steps each, whose losses `loss` gives by step.
    fn said(from: u64, loss: impl Fn(u64) -> f64) -> Vec<u64> {
        let halving = Halving { from: 8, to: 2, steps: 100, last_steps: None };
        let mut alarm = Stalled::new(Progressive::new(halving).stages());
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
