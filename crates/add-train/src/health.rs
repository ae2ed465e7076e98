//! Whether the discriminator is still a teacher: it may have won, or learnt nothing.
//!
//! Every line of `metrics.jsonl` has, per head, the mean logits (`logits_real`, `logits_fake`), the share of them on
//! their right side of zero (`sign_real`, `sign_fake`) and R1 (`r1_heads`). [`HeadsHealth`] looks at them now and then
//! and says once when they stay where no lesson is left. It writes nothing into the metrics, so what it remembers
//! is no part of a checkpoint: a resumed run looks anew, and its lines are those of the undisturbed one.

use crate::report::StepReport;

/// Looks after a run's figures.
pub trait Alarm {
    /// What is wrong after 0-based `step`, and what to do, if there is something to say now.
    fn look(&mut self, step: u64, report: &StepReport) -> Option<String>;
}

/// Steps between looks. The figures of the heads are read off the device for a look.
pub const LOOK_EVERY: u64 = 10;

/// Looks in a row that make a verdict, 500 steps. A warm-up, in which untrained heads look dead, is shorter: in
/// the main job it takes 60 steps until a head tells real pictures from fakes.
const LOOKS: u32 = 50;

/// Share of logits on their right side from which on the heads have won. At the hinge's optimum the shares reach 1;
/// in the main job, which trains well, they stay below 0.9.
pub const WON: f64 = 0.99;

/// Difference of a head's mean logits, of the hinge's margin of 1, below which it does not tell real from fake.
pub const DEAD_GAP: f64 = 0.02;

/// Mean logit below which a head says nothing at all, of the same margin.
pub const DEAD_LOGIT: f64 = 0.05;

/// What is wrong with the heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collapse {
    /// They tell every real picture from every fake: what the student gets from them no longer says where to go.
    Won,
    /// No head tells real from fake: the adversarial term is noise.
    Dead,
}

impl Collapse {
    /// What it is, for a person.
    fn what(self) -> &'static str {
        match self {
            Self::Won => "the heads have told nearly every real picture from every fake for 500 steps",
            Self::Dead => "no head has told real pictures from fakes for 500 steps",
        }
    }
}

/// What to do about heads that are no teacher any more, by the fields of a method.
#[derive(Debug, Clone, Copy)]
pub struct Remedies {
    /// Against heads that have won.
    pub won: &'static str,
    /// Against heads that are dead.
    pub dead: &'static str,
}

/// Watches the heads over a run.
#[derive(Debug)]
pub struct HeadsHealth {
    remedies: Remedies,
    last: Option<Collapse>,
    /// Looks in a row that saw `last`.
    looks: u32,
}

impl Alarm for HeadsHealth {
    fn look(&mut self, step: u64, report: &StepReport) -> Option<String> {
        let collapse = self.collapse(step, report)?;
        let remedy = match collapse {
            Collapse::Won => self.remedies.won,
            Collapse::Dead => self.remedies.dead,
        };
        Some(format!("{}; {remedy}", collapse.what()))
    }
}

impl HeadsHealth {
    /// An alarm that says what to do.
    pub fn new(remedies: Remedies) -> Self {
        Self { remedies, last: None, looks: 0 }
    }

    /// Looks at the figures of 0-based `step`; a collapse is told once, until the heads recover from it.
    fn collapse(&mut self, step: u64, report: &StepReport) -> Option<Collapse> {
        if !step.is_multiple_of(LOOK_EVERY) {
            return None;
        }
        let seen = verdict(report);
        self.looks = if seen == self.last { self.looks.saturating_add(1) } else { 1 };
        self.last = seen;
        seen.filter(|_| self.looks == LOOKS)
    }
}

/// What a single step says; `None` where the heads are fine, or off.
fn verdict(report: &StepReport) -> Option<Collapse> {
    let figures = |name| report.per_head(name).filter(|values| !values.is_empty());
    let (sign_real, sign_fake) = (figures("sign_real")?, figures("sign_fake")?);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    if mean(&sign_real) > WON && mean(&sign_fake) > WON {
        return Some(Collapse::Won);
    }
    let (real, fake) = (figures("logits_real")?, figures("logits_fake")?);
    let dead = |(real, fake): (&f64, &f64)| {
        real.abs().max(fake.abs()) < DEAD_LOGIT && (real - fake).abs() < DEAD_GAP
    };
    real.iter().zip(&fake).all(dead).then_some(Collapse::Dead)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;

    /// Two heads: shares on the right side and mean logits, real and fake.
    fn report(sign: [[f32; 2]; 2], logits: [[f32; 2]; 2]) -> StepReport {
        let mut report = StepReport::default();
        let [[sign_real, sign_fake], [real, fake]] = [sign, logits];
        for (name, values) in
            [("sign_real", sign_real), ("sign_fake", sign_fake), ("logits_real", real), ("logits_fake", fake)]
        {
            let means = values.map(|value| Tensor::from_floats([value], &Device::flex()));
            report.heads(name, 1.0, means.into());
        }
        report
    }

    fn won() -> StepReport {
        report([[1.0, 0.999], [0.995, 1.0]], [[3.0, 2.0], [-2.0, -2.0]])
    }

    fn well() -> StepReport {
        report([[0.7, 0.8], [0.6, 0.7]], [[0.1, 0.4], [-0.1, -0.5]])
    }

    fn health() -> HeadsHealth {
        HeadsHealth::new(Remedies { won: "lower it", dead: "raise it" })
    }

    #[test]
    fn the_advice_says_what_is_wrong_and_what_to_do() {
        let mut alarm = health();
        let said: Vec<String> = (0..500).filter_map(|step| alarm.look(step, &won())).collect();
        assert!(said.len() == 1 && said[0].ends_with("for 500 steps; lower it"), "{said:?}");
    }

    /// What is said over `steps` steps of the same report.
    fn said(
        health: &mut HeadsHealth,
        steps: std::ops::Range<u64>,
        report: &StepReport,
    ) -> Vec<(u64, Collapse)> {
        steps.filter_map(|step| Some((step, health.collapse(step, report)?))).collect()
    }

    #[test]
    fn a_collapse_is_told_once_and_again_after_a_recovery() {
        let mut health = health();
        assert_eq!(said(&mut health, 0..2000, &won()), [(490, Collapse::Won)]);
        assert_eq!(said(&mut health, 2000..3000, &well()), []);
        assert_eq!(said(&mut health, 3000..4000, &won()), [(3490, Collapse::Won)]);
    }

    #[test]
    fn each_kind_of_collapse_is_told_apart() {
        let of = |report: StepReport| verdict(&report);
        assert_eq!(of(won()), Some(Collapse::Won));
        assert_eq!(of(well()), None);
        // One head alone that has won, fakes alone that are told, heads that say a constant.
        assert_eq!(of(report([[1.0, 0.6], [1.0, 0.7]], [[3.0, 0.1], [-3.0, -0.1]])), None);
        assert_eq!(of(report([[0.5, 0.5], [1.0, 1.0]], [[0.0, 0.0], [-2.0, -2.0]])), None);
        assert_eq!(
            of(report([[1.0, 0.0], [0.0, 1.0]], [[0.04, -0.03], [0.04, -0.03]])),
            Some(Collapse::Dead)
        );
        assert_eq!(of(report([[0.5, 0.5], [0.5, 0.5]], [[0.0, 0.03], [0.0, 0.0]])), None);
        assert_eq!(of(report([[1.0, 1.0], [0.0, 0.0]], [[0.9, 0.9], [0.9, 0.9]])), None);
    }

    #[test]
    fn a_step_without_heads_says_nothing() {
        assert_eq!(said(&mut health(), 0..2000, &StepReport::default()), []);
    }
}
