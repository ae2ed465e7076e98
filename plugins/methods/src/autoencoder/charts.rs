//! How the report shows the training of a codec, and what it warns of beside its heads.

use add_eval::report::{ChartRule, Items, Presentation};
use add_train::{health::Alarm, report::StepReport};

/// Title, headline and charts.
pub(super) const PRESENTATION: Presentation = Presentation {
    title: "Training of an autoencoder",
    headline: &["loss_absolute", "loss_perceptual", "rmse"],
    charts: &CHARTS,
};

const CHARTS: [ChartRule; 8] = [
    ChartRule::new(
        "Distances of reconstructions and pictures",
        "The mean absolute difference of values in [-1, 1], and the perceptual distance.",
        &["loss_absolute", "loss_perceptual"],
    ),
    ChartRule::new(
        "Error and contrast",
        "Root mean square difference, and the standard deviation of the pictures' values, which a grey picture would be off by.",
        &["rmse", "contrast_real"],
    ),
    ChartRule::new(
        "Latents",
        "Standard deviation of the means of the latents' distributions, and that of the noise about them, which should stay \
         below it.",
        &["latent_std", "latent_noise"],
    ),
    ChartRule::new("Divergence from the normal distribution", "A mean over latent values.", &["loss_kl"]),
    ChartRule::new("Adversarial loss of the codec", "", &["loss_adv"]),
    ChartRule::new(
        "Discriminator loss",
        "Hinge on pictures and on reconstructions.",
        &["loss_d", "loss_d_*"],
    ),
    ChartRule::new(
        "Logits, mean over heads",
        "Those of pictures should stay above those of reconstructions, but not run away from them.",
        &["logits_real", "logits_fake"],
    )
    .with(Items::WithMean("head")),
    ChartRule::new(
        "Gradient norms at the reconstruction",
        "Of the absolute distance; and of the perceptual and the adversarial term, which come through the features, together.",
        &["grad_norm_absolute", "grad_norm_features"],
    ),
];

/// Steps between warnings.
const WARN_EVERY: u64 = 100;
/// The step from which on they are meant.
const WARN_FROM: u64 = 500;
/// Part of the pictures' contrast: a reconstruction that is off by so much holds next to nothing of its picture.
const GREY: f64 = 0.8;

/// Whether a warning is due.
fn due(step: u64) -> bool {
    step >= WARN_FROM && step % WARN_EVERY == WARN_EVERY - 1
}

/// Reconstructions that hold nothing of their pictures.
pub(super) struct Grey;

impl Alarm for Grey {
    fn look(&mut self, step: u64, report: &StepReport) -> Option<String> {
        let (error, contrast) = (report.get("rmse")?, report.get("contrast_real")?);
        (due(step) && error > GREY * contrast).then(|| {
            format!(
                "the reconstructions are off by {error:.3}, where the pictures deviate by {contrast:.3} from grey: they hold \
                 next to nothing of them; lower generator.lr, or adversarial.weight"
            )
        })
    }
}

/// Latents whose noise is larger than what they say.
pub(super) struct Drowned;

impl Alarm for Drowned {
    fn look(&mut self, step: u64, report: &StepReport) -> Option<String> {
        let (deviation, noise) = (report.get("latent_std")?, report.get("latent_noise")?);
        (due(step) && noise > deviation).then(|| {
            format!(
                "the latents deviate by {deviation:.3} and their noise by {noise:.3}: what they say drowns in it; lower \
                 kl_weight"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(figures: &[(&'static str, f64)]) -> StepReport {
        let mut report = StepReport::default();
        for &(name, value) in figures {
            report.norm(name, value);
        }
        report
    }

    #[test]
    fn reconstructions_that_hold_nothing_are_told_once_the_run_is_under_way() {
        let grey = |error| report(&[("rmse", error), ("contrast_real", 0.5)]);
        assert!(Grey.look(599, &grey(0.41)).is_some_and(|advice| advice.contains("generator.lr")));
        assert!(Grey.look(599, &grey(0.39)).is_none());
        assert!(Grey.look(99, &grey(0.5)).is_none(), "they begin as nothing");
        assert!(Grey.look(600, &grey(0.5)).is_none(), "not at every step");
    }

    #[test]
    fn latents_below_their_noise_are_told() {
        let latents = |noise| report(&[("latent_std", 0.5), ("latent_noise", noise)]);
        assert!(Drowned.look(599, &latents(0.6)).is_some_and(|advice| advice.contains("kl_weight")));
        assert!(Drowned.look(599, &latents(0.4)).is_none());
        assert!(Drowned.look(99, &latents(0.6)).is_none());
    }
}
