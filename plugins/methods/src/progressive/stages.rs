//! The stages of a run, and which of them a step belongs to.

use add_train::optimizer::AdamWConfig;

use super::Progressive;

/// What the student of a stage learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lesson {
    /// The teacher's guided estimate, at every timestep.
    Guidance,
    /// To sample in so many steps, half of its teacher's.
    Halving(usize),
}

/// A stage: the training steps of one student.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage {
    /// Its number, from 1.
    pub(super) number: usize,
    /// What its student learns.
    pub(super) lesson: Lesson,
    /// Its first step.
    pub(super) first: u64,
    /// How many steps it has.
    pub(super) steps: u64,
}

impl Stage {
    /// The step after its last one.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(self.steps)
    }

    /// Learning rate of `step`: after the warm-up it falls to zero along a line within the stage, as in Salimans and Ho's
    /// experiments.
    pub(super) fn lr(&self, step: u64, config: &AdamWConfig) -> f64 {
        let done = step.saturating_sub(self.first).min(self.steps);
        let left = (self.steps - done) as f64 / self.steps.max(1) as f64;
        config.lr_at(done, self.steps) * left
    }
}

/// The stage of `step`; what comes after the last stage belongs to it.
pub(super) fn stage_at(stages: &[Stage], step: u64) -> Option<&Stage> {
    stages.iter().find(|stage| step < stage.end()).or(stages.last())
}

/// The numbers of sampling steps of the students, from half of `from` down to `to`.
pub(super) fn halvings(from: usize, to: usize) -> Vec<usize> {
    std::iter::successors(Some(from / 2), |steps| Some(steps / 2))
        .take_while(|&steps| steps >= to.max(1))
        .collect()
}

impl Progressive {
    /// Its stages in their order.
    pub(super) fn stages(&self) -> Vec<Stage> {
        let halving = &self.halving;
        let guidance = self.guidance.as_ref().map(|stage| (Lesson::Guidance, stage.steps));
        let halvings = halvings(halving.from, halving.to).into_iter().map(|sampling_steps| {
            let steps = if sampling_steps <= 2 { halving.last_steps } else { None };
            (Lesson::Halving(sampling_steps), steps.unwrap_or(halving.steps))
        });
        let mut first: u64 = 0;
        let stage = |(i, (lesson, steps)): (usize, (Lesson, u64))| {
            let stage = Stage { number: i + 1, lesson, first, steps };
            first = stage.end();
            stage
        };
        guidance.into_iter().chain(halvings).enumerate().map(stage).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Guidance,
        progressive::{GuidanceStage, Halving},
    };

    fn method() -> Progressive {
        Progressive {
            guidance: Some(GuidanceStage { steps: 600, scale: Guidance::Fixed(3.0) }),
            ..Progressive::new(Halving { from: 16, to: 1, steps: 100, last_steps: Some(250) })
        }
    }

    #[test]
    fn stages_follow_one_another_and_the_last_ones_are_longer() {
        let stages: Vec<_> = method().stages().iter().map(|s| (s.lesson, s.first, s.steps)).collect();
        let want = [
            (Lesson::Guidance, 0, 600),
            (Lesson::Halving(8), 600, 100),
            (Lesson::Halving(4), 700, 100),
            (Lesson::Halving(2), 800, 250),
            (Lesson::Halving(1), 1050, 250),
        ];
        assert_eq!(stages, want);
        let plain = Progressive { guidance: None, ..method() };
        assert_eq!((plain.stages()[0].lesson, plain.stages()[0].number), (Lesson::Halving(8), 1));
    }

    #[test]
    fn a_step_belongs_to_the_stage_that_it_is_counted_in() {
        let stages = method().stages();
        let number = |step| stage_at(&stages, step).map(|stage| stage.number);
        let numbers = [0, 599, 600, 699, 700, 1299, 9999].map(number);
        assert_eq!(numbers, [1, 1, 2, 2, 3, 5, 5].map(Some));
    }

    #[test]
    fn the_learning_rate_falls_to_zero_within_each_stage() {
        let stages = method().stages();
        let config = AdamWConfig { lr: 1.0, warm_up: 10, ..AdamWConfig::default() };
        let lr = |step| stage_at(&stages, step).map_or(0.0, |stage| stage.lr(step, &config));
        // A tenth of the warm-up; half way; the last step; the next stage begins anew.
        for (step, want) in [(0, 0.1), (300, 0.5), (599, 1.0 / 600.0), (600, 0.1), (650, 0.5), (2000, 0.0)] {
            assert!((lr(step) - want).abs() < 1e-12, "{step}: {}", lr(step));
        }
    }
}
