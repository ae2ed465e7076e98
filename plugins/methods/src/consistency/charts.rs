//! How the report shows a consistency distillation, and what it warns of.

use add_eval::report::{ChartRule, Presentation};

use crate::contrast::{CONTRAST, Contrast};

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
    CONTRAST,
];

/// What it warns of.
pub(super) const ALARM: Contrast =
    Contrast { grey: "lower optimizer.lr, or raise skip", burnt: "lower guidance" };
