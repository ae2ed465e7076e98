//! The stages of a run, and which of them a step belongs to.

use add_recipe::Problems;

use super::{Halving, Progressive};

/// What the student of a stage learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lesson {
    /// The teacher's guided estimate, at every timestep.
    Guidance,
    /// To sample in so many steps, half of its teacher's.
    Halving(usize),
}

/// A stage of a progressive distillation.
pub(super) type Stage = crate::stages::Stage<Lesson>;

/// The numbers of sampling steps of the students, from half of `from` down to `to`.
pub(super) fn halvings(from: usize, to: usize) -> Vec<usize> {
    std::iter::successors(Some(from / 2), |steps| Some(steps / 2))
        .take_while(|&steps| steps >= to.max(1))
        .collect()
}

impl Halving {
    /// The number of sampling steps of each student, with the training steps of its stage.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (usize, u64)> {
        let steps = |sampling_steps| if sampling_steps <= 2 { self.last_steps } else { None };
        let stage = move |sampling_steps| (sampling_steps, steps(sampling_steps).unwrap_or(self.steps));
        halvings(self.from, self.to).into_iter().map(stage)
    }

    /// Adds what does not hold of the field `objective.halving` on a schedule of `total` timesteps; whether it halves at all.
    pub(crate) fn check(&self, p: &mut Problems, total: usize) -> bool {
        p.size("objective.halving.to", self.to, total);
        p.size("objective.halving.from", self.from, total);
        let (from, to) = (self.from, self.to.max(1));
        let halves = from.is_multiple_of(to) && (from / to).is_power_of_two() && from > to;
        p.require(halves, "objective.halving.from", || {
            format!("expected `to`, {to}, times 2, 4, 8 or another power of two, got {from}")
        });
        p.positive("objective.halving.steps", self.steps as usize);
        if let Some(steps) = self.last_steps {
            p.positive("objective.halving.last_steps", steps as usize);
        }
        halves
    }
}

impl Progressive {
    /// Its stages in their order.
    pub(super) fn stages(&self) -> Vec<Stage> {
        let halving = &self.halving;
        let guidance = self.guidance.as_ref().map(|stage| (Lesson::Guidance, stage.steps));
        let halvings =
            halving.stages().map(|(sampling_steps, steps)| (Lesson::Halving(sampling_steps), steps));
        Stage::in_order(guidance.into_iter().chain(halvings))
    }
}

#[cfg(test)]
mod tests {
    use add_train::optimizer::AdamWConfig;

    use super::*;
    use crate::{Guidance, progressive::GuidanceStage, stages::Staged};

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
        let stages = Staged::new(method().stages());
        let number = |step| stages.at(step).number;
        let numbers = [0, 599, 600, 699, 700, 1299, 9999].map(number);
        assert_eq!(numbers, [1, 1, 2, 2, 3, 5, 5]);
    }

    #[test]
    fn the_learning_rate_falls_to_zero_within_each_stage() {
        let stages = Staged::new(method().stages());
        let config = AdamWConfig { lr: 1.0, warm_up: 10, ..AdamWConfig::default() };
        let lr = |step| stages.at(step).lr(step, &config);
        // A tenth of the warm-up; half way; the last step; the next stage begins anew.
        for (step, want) in [(0, 0.1), (300, 0.5), (599, 1.0 / 600.0), (600, 0.1), (650, 0.5), (2000, 0.0)] {
            assert!((lr(step) - want).abs() < 1e-12, "{step}: {}", lr(step));
        }
    }
}
