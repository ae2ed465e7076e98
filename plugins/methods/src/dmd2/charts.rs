//! How the report shows a distribution matching distillation, and what it warns of.

use add_eval::report::{ChartRule, Presentation};
use add_train::health::{Alarm, HeadsHealth, Remedies};

use crate::{
    contrast::{CONTRAST, Contrast},
    critic::{LOGITS, SIGNS},
};

/// Title, headline and charts.
pub(super) const PRESENTATION: Presentation = Presentation {
    title: "Distribution matching distillation",
    headline: &["loss_match", "loss_fakes", "loss_d"],
    charts: &CHARTS,
};

const CHARTS: [ChartRule; 7] = [
    ChartRule::new(
        "Distribution matching",
        "Half the mean square of the gradient at the student's pictures; it falls as the two denoisers come to agree on them.",
        &["loss_match"],
    ),
    ChartRule::new(
        "Denoising of fakes",
        "The loss of the denoiser of fakes. Where it rises, the student moves faster than that denoiser can follow.",
        &["loss_fakes"],
    ),
    ChartRule::new(
        "Adversarial losses",
        "Of the student, and of the discriminator on real pictures and on fakes; 1.39 in all is a discriminator that guesses.",
        &["loss_adv", "loss_d", "loss_d_*"],
    ),
    ChartRule::new(
        "Gradient norms at the picture",
        "Of the two terms of the student's loss.",
        &["grad_norm_match", "grad_norm_adv"],
    ),
    LOGITS,
    SIGNS,
    CONTRAST,
];

/// Every alarm.
pub(super) fn alarms() -> Vec<Box<dyn Alarm>> {
    vec![
        Box::new(HeadsHealth::new(Remedies {
            won: "lower gan.discriminator_weight, or fakes.lr",
            dead: "raise gan.discriminator_weight, or fakes.lr",
        })),
        Box::new(Contrast { grey: "lower generator.lr, or raise updates", burnt: "lower guidance" }),
        Box::new(Lag::default()),
    ]
}

/// Steps over which the loss of the denoiser of fakes is averaged.
const WINDOW: u64 = 100;
/// A loss that is so many times that of the window before has run away.
const RUN_AWAY: f64 = 1.5;

/// A denoiser of fakes that does not keep up gives the student a score that is no longer its own.
#[derive(Default)]
struct Lag {
    sum: f64,
    count: u64,
    before: Option<f64>,
}

impl Alarm for Lag {
    fn look(&mut self, step: u64, report: &add_train::report::StepReport) -> Option<String> {
        self.sum += report.get("loss_fakes")?;
        self.count += 1;
        if step % WINDOW != WINDOW - 1 {
            return None;
        }
        let mean = self.sum / self.count as f64;
        // A run that was resumed within a window has seen its end alone.
        let whole = self.count == WINDOW;
        (self.sum, self.count) = (0.0, 0);
        let before = std::mem::replace(&mut self.before, whole.then_some(mean))?;
        (whole && mean > RUN_AWAY * before).then(|| {
            format!(
                "the denoiser of fakes does not keep up with the student: a loss of {mean:.3e} over the last {WINDOW} steps, \
                 {before:.3e} before; raise updates or fakes.lr, or lower generator.lr"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use add_train::report::StepReport;

    use super::*;

    fn said(from: u64, loss: impl Fn(u64) -> f64) -> Vec<u64> {
        let mut alarm = Lag::default();
        let told = |step: u64| {
            let mut report = StepReport::default();
            report.number("loss_fakes", loss(step));
            alarm.look(step, &report).map(|_| step)
        };
        (from..400).filter_map(told).collect()
    }

    #[test]
    fn a_denoiser_of_fakes_that_falls_behind_is_told() {
        assert_eq!(said(0, |step| if step < 200 { 1.0 } else { 1.6 }), [299]);
        assert_eq!(said(0, |_| 1.0), [0; 0]);
        assert_eq!(said(0, |step| 1.0 + step as f64 / 400.0), [0; 0], "slowly is no alarm");
        assert_eq!(
            said(50, |step| if step < 100 { 0.1 } else { 1.0 }),
            [0; 0],
            "half a window is no measure"
        );
    }
}
