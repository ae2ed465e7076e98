//! How the report shows a distillation.

use add_eval::report::{ChartRule, Items, Presentation};

use crate::critic::{LOGITS, SIGNS};

/// Title, headline and charts of a distillation.
pub(super) const PRESENTATION: Presentation = Presentation {
    title: "Adversarial diffusion distillation",
    headline: &["loss_g", "loss_adv", "loss_distill", "loss_d"],
    charts: &CHARTS,
};

const CHARTS: [ChartRule; 10] = [
    ChartRule::new(
        "Student loss",
        "What the generator minimises, and its adversarial and distillation terms.",
        &["loss_g", "loss_adv", "loss_distill"],
    ),
    ChartRule::new(
        "Discriminator loss",
        "Hinge on real and on generated pictures; the total adds the weighted R1 penalty.",
        &["loss_d", "loss_d_*"],
    ),
    ChartRule::new("R1 penalty", "Squared gradient of the heads at real features.", &["r1", "r1_*"])
        .with(Items::Each("head")),
    LOGITS,
    SIGNS,
    ChartRule::new(
        "Gradient norms at the picture",
        "Of the two terms of the student's loss; they should stay within a factor of 30.",
        &["grad_norm_adv", "grad_norm_distill"],
    ),
    ChartRule::new(
        "Balance of the student's terms",
        "Adversarial gradient norm over that of distillation, at the picture.",
        &["grad_ratio"],
    ),
    ChartRule::new("Lambda", "Calibrated over the first steps, then fixed.", &["lambda"]),
    ChartRule::new("Course of the distillation weight", "What lambda is multiplied by.", &["course"]),
    ChartRule::new(
        "Lengths of the heads' conditions",
        "The longer decides which condition the heads listen to, unless both are scaled.",
        &["norm_c_text", "norm_c_img"],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::add::alarms::IMBALANCE;

    #[test]
    fn the_note_states_the_factor_at_which_the_alarm_warns() {
        let note = CHARTS.iter().find(|chart| chart.keys.contains(&"grad_norm_adv")).expect("a chart").note;
        assert!(note.contains(&format!("a factor of {IMBALANCE}")), "{note}");
    }
}
