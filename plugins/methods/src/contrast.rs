//! Whether a student's pictures have the contrast of real ones. One that says the same of every input agrees with itself, and
//! too much guidance burns pictures; neither shows in a loss.

use add_eval::report::ChartRule;
use add_train::{gradients::scalar, health::Alarm, report::StepReport};
use burn::tensor::Tensor;

/// The student's pictures are grey, or burnt, where their contrast is so many times off that of real ones.
const OFF_BY: f64 = 3.0;
/// Steps between warnings.
const WARN_EVERY: u64 = 100;

/// How the report shows the contrasts.
pub(crate) const CONTRAST: ChartRule = ChartRule::new(
    "Contrast",
    "Standard deviation of the values of real pictures and of the student's; they should stay within a factor of 3.",
    &["contrast_real", "contrast_student"],
);

/// Adds the contrasts of `real` and of the `student`'s pictures, both `[B, C, H, W]` on the plain device, over a part that is
/// `share` of the batch.
pub(crate) fn report_contrasts(report: &mut StepReport, share: f64, real: Tensor<4>, student: Tensor<4>) {
    // Each is a root of a mean over the batch, of which the part has a share.
    report.norm("contrast_real", (share * scalar(variance(real))).sqrt());
    report.norm("contrast_student", (share * scalar(variance(student))).sqrt());
}

/// The variance of all values, `[1]`.
pub(crate) fn variance(x: Tensor<4>) -> Tensor<1> {
    let mean = x.clone().mean().reshape([1, 1, 1, 1]);
    (x - mean).square().mean()
}

/// Warns of pictures that are grey or burnt, and says what helps by the fields of a method.
pub(crate) struct Contrast {
    /// What helps against grey ones.
    pub(crate) grey: &'static str,
    /// What helps against burnt ones.
    pub(crate) burnt: &'static str,
}

impl Alarm for Contrast {
    fn look(&mut self, step: u64, report: &StepReport) -> Option<String> {
        if step % WARN_EVERY != WARN_EVERY - 1 {
            return None;
        }
        let (real, student) = (report.get("contrast_real")?, report.get("contrast_student")?);
        let so = format!("the student's pictures have a contrast of {student:.3}, real ones {real:.3}");
        if student * OFF_BY < real {
            return Some(format!("{so}: it is about to say the same of every input; {}", self.grey));
        }
        (student > OFF_BY * real).then(|| format!("{so}: they are burnt; {}", self.burnt))
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
        let mut alarm = Contrast { grey: "raise skip", burnt: "lower guidance" };
        assert!(alarm.look(99, &report(0.6, 0.19)).is_some_and(|advice| advice.ends_with("raise skip")));
        assert!(alarm.look(199, &report(0.6, 1.9)).is_some_and(|advice| advice.ends_with("lower guidance")));
        assert!(alarm.look(98, &report(0.6, 0.1)).is_none(), "not at every step");
        assert!(alarm.look(99, &report(0.6, 0.21)).is_none());
        assert!(alarm.look(99, &report(0.6, 1.7)).is_none());
    }

    #[test]
    fn the_note_states_the_factor_at_which_the_alarm_warns() {
        assert!(CONTRAST.note.contains(&format!("a factor of {OFF_BY}")), "{}", CONTRAST.note);
    }
}
