//! How the report shows a rectification, and what it warns of.

use add_eval::report::{ChartRule, Presentation};
use add_train::health::Alarm;

use super::Goal;
use crate::{
    contrast::{CONTRAST, Contrast},
    stages::{Stage, Stalled},
};

/// Title, headline and charts.
pub(super) const PRESENTATION: Presentation = Presentation {
    title: "Rectified flow",
    headline: &["loss", "curvature", "stage"],
    charts: &[
        ChartRule::new(
            "Loss",
            "Of the straight flow, and in the last stage of one step. It begins anew with each stage.",
            &["loss"],
        ),
        ChartRule::new(
            "Curvature of the teacher's trajectories",
            "Mean square of their flow less the whole way; 0 is straight. It falls from one stage to the next if reflow works.",
            &["curvature"],
        ),
        ChartRule::new(
            "Terms of one step",
            "Of latents and of features.",
            &["loss_latents", "loss_features"],
        ),
        ChartRule::new("Stage", "At the end of each, the averaged student becomes the teacher.", &["stage"]),
        CONTRAST,
    ],
};

/// Every alarm.
pub(super) fn alarms(stages: Vec<Stage<Goal>>) -> Vec<Box<dyn Alarm>> {
    let contrast = Contrast { grey: "lower optimizer.lr, or add perceptual", burnt: "lower reflow.guidance" };
    vec![Box::new(Stalled::new(stages)), Box::new(contrast)]
}
