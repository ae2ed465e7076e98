//! How the report shows a diffusion GAN, and what it warns of.

use add_eval::report::{ChartRule, Presentation};
use add_train::health::{Alarm, HeadsHealth, Remedies};

use crate::{
    contrast::{CONTRAST, Contrast},
    critic::{LOGITS, SIGNS},
};

/// Title, headline and charts.
pub(super) const PRESENTATION: Presentation = Presentation {
    title: "Diffusion GAN",
    headline: &["loss_adv", "loss_reconstruction", "loss_d"],
    charts: &[
        ChartRule::new(
            "Adversarial losses",
            "Of the student, and of the discriminator on real pictures and on fakes; 1.39 in all is a discriminator that guesses.",
            &["loss_adv", "loss_d", "loss_d_*"],
        ),
        ChartRule::new(
            "Reconstruction",
            "Weighted squared distance of the student's pictures to the real ones that were noised for it.",
            &["loss_reconstruction"],
        ),
        ChartRule::new(
            "Gradient norms at the picture",
            "Of the two terms of the student's loss.",
            &["grad_norm_adv", "grad_norm_reconstruction"],
        ),
        LOGITS,
        SIGNS,
        CONTRAST,
    ],
};

/// Every alarm.
pub(super) fn alarms() -> Vec<Box<dyn Alarm>> {
    vec![
        Box::new(HeadsHealth::new(Remedies {
            won: "lower discriminator.optimizer.lr, or raise reconstruction",
            dead: "raise discriminator.optimizer.lr",
        })),
        Box::new(Contrast { grey: "lower reconstruction, or generator.lr", burnt: "raise reconstruction" }),
    ]
}
