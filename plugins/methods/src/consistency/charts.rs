//! How the report shows a consistency distillation, and what it warns of.

use add_eval::report::{ChartRule, Presentation};
use add_train::{health::Alarm, report::StepReport};

/// Title, headline and charts.
pub(super) const PRESENTATION: Presentation =
    Presentation { title: "Latent consistency distillation", headline: &["loss", "gap"], charts: &CHARTS };

const CHARTS: [ChartRule; 3] = [
    ChartRule::new(
        "Consistency loss",
        "The distance between the student at a timestep and the target one solver step further. It need not fall: both move.",
        &["loss"],
    ),
    ChartRule::new(
        "Gap between the two ends of a solver step",
        "Root mean square difference of their pictures, whatever the distance is.",
        &["gap"],
    ),
    ChartRule::new(
        "Contrast",
        "Standard deviation of the values of real pictures and of the student's; they should stay within a factor of 3.",
        &["contrast_real", "contrast_student"],
    ),
];

/// The student's pictures are grey, or burnt, where their contrast is so many times off that of real ones.
const OFF_BY: f64 = 3.0;
/// Steps between warnings.
const WARN_EVERY: u64 = 100;

/// A student that says the same of every input agrees with itself; too much guidance burns its pictures. Neither shows in
/// the loss.
pub(super) struct Contrast;

impl Alarm for Contrast {
    fn look(&mut self, step: u64, report: &StepReport) -> Option<String> {
        if step % WARN_EVERY != WARN_EVERY - 1 {
            return None;
        }
        let (real, student) = (report.get("contrast_real")?, report.get("contrast_student")?);
        if student * OFF_BY < real {
            return Some(format!(
                "the student's pictures have a contrast of {student:.3}, real ones {real:.3}: it is about to say the same \
                 of every input; lower optimizer.lr, or raise skip"
            ));
        }
        (student > OFF_BY * real).then(|| {
            format!(
                "the student's pictures have a contrast of {student:.3}, real ones {real:.3}: they are burnt; lower \
                 guidance"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_and_burnt_pictures_are_told_at_every_hundredth_step() {
        let report = |real: f64, student: f64| {
            let mut report = StepReport::default();
            report.norm("contrast_real", real);
            report.norm("contrast_student", student);
            report
        };
        assert!(Contrast.look(99, &report(0.6, 0.19)).is_some_and(|advice| advice.contains("the same")));
        assert!(Contrast.look(199, &report(0.6, 1.9)).is_some_and(|advice| advice.contains("burnt")));
        assert!(Contrast.look(98, &report(0.6, 0.1)).is_none(), "not at every step");
        assert!(Contrast.look(99, &report(0.6, 0.21)).is_none());
        assert!(Contrast.look(99, &report(0.6, 1.7)).is_none());
    }

    #[test]
    fn the_note_states_the_factor_at_which_the_alarm_warns() {
        let note = CHARTS.iter().find(|chart| chart.keys.contains(&"contrast_real")).expect("a chart").note;
        assert!(note.contains(&format!("a factor of {OFF_BY}")), "{note}");
    }
}
