//! What goes wrong in a distillation without any error: heads that no longer teach, and a term that drowns the other.

use add_train::{
    health::{Alarm, HeadsHealth, Remedies},
    report::StepReport,
};

/// A term whose gradient is so many times the other's drowns it.
pub(super) const IMBALANCE: f64 = 30.0;
/// Steps between looks at the balance.
const WARN_EVERY: u64 = 100;

/// What helps heads that no longer teach.
const REMEDIES: Remedies = Remedies {
    won: "raise gamma, or lower discriminator.lr",
    dead: "raise discriminator.lr, or lower gamma",
};

/// Every alarm of a distillation.
pub(super) fn alarms() -> Vec<Box<dyn Alarm>> {
    vec![Box::new(HeadsHealth::new(REMEDIES)), Box::new(Balance)]
}

/// Lambda belongs to its reduction; a wrong one shows here and nowhere else.
struct Balance;

impl Alarm for Balance {
    fn look(&mut self, step: u64, report: &StepReport) -> Option<String> {
        if step % WARN_EVERY != WARN_EVERY - 1 {
            return None;
        }
        let (adversarial, distillation) = (report.get("grad_norm_adv")?, report.get("grad_norm_distill")?);
        let drowns = adversarial > IMBALANCE * distillation || distillation > IMBALANCE * adversarial;
        drowns.then(|| {
            format!(
                "the adversarial term's gradient at x_hat_theta has norm {adversarial:.3e}, distillation's \
                 {distillation:.3e}: one drowns the other; adjust lambda"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_that_drowns_the_other_is_told_at_every_hundredth_step() {
        let report = |adversarial: f64, distillation: f64| {
            let mut report = StepReport::default();
            report.norm("grad_norm_adv", adversarial);
            report.norm("grad_norm_distill", distillation);
            report
        };
        assert!(Balance.look(99, &report(31.0, 1.0)).is_some_and(|advice| advice.contains("lambda")));
        assert!(Balance.look(199, &report(1.0, 31.0)).is_some());
        assert!(Balance.look(98, &report(31.0, 1.0)).is_none(), "not at every step");
        assert!(Balance.look(99, &report(29.0, 1.0)).is_none());
        assert!(Balance.look(99, &StepReport::default()).is_none(), "a step without both terms");
    }
}
