//! How the report shows a progressive distillation.

use add_eval::report::{ChartRule, Presentation};

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
