//! How a critic of latents looks at samples, each diffused to a level of its own, and what is told of what heads say.

use add_eval::report::{ChartRule, Items};
use add_plugin::{Conditioning, Critic, Denoiser, Draw, Logits, NoiseSchedule, Purpose, Timesteps};
use add_train::{noise::normal_of, process::Process, report::StepReport};
use burn::tensor::{Device, Tensor};

/// A level at which a critic looks at samples, one per sample, with their noise.
#[derive(Debug, Clone)]
pub struct Level {
    /// `t`.
    pub t: Timesteps,
    /// Noise `[B, C, H, W]`.
    pub eps: Tensor<4>,
}

/// The levels at which a critic looks at fakes and at real samples.
#[derive(Debug, Clone)]
pub struct CriticLevels {
    /// Those of fakes.
    pub fake: Level,
    /// Those of real samples.
    pub real: Level,
}

impl CriticLevels {
    /// What `critic` draws for the samples of `draws`, whose latents are of this shape.
    pub(crate) fn drawn(
        critic: &dyn Critic,
        schedule: &NoiseSchedule,
        draws: &[Draw],
        shape: [usize; 4],
        device: &Device,
    ) -> Self {
        let level = |level, eps| Level {
            t: Timesteps(draws.iter().map(|draw| critic.timestep(schedule, draw, level)).collect()),
            eps: normal_of(draws, eps, shape, device),
        };
        Self {
            fake: level(Purpose::CriticFakeLevel, Purpose::CriticFakeNoise),
            real: level(Purpose::CriticRealLevel, Purpose::CriticRealNoise),
        }
    }
}

impl Level {
    /// What `critic` sees of `x` `[B, C, H, W]` through `denoiser`, whose process this is: one `[B, C, N]` for each hook.
    ///
    /// # Panics
    /// Panics when the denoiser does not show what the critic looks at: the recipe was checked.
    pub(crate) fn features(
        &self,
        critic: &dyn Critic,
        denoiser: &dyn Denoiser,
        process: &Process,
        x: Tensor<4>,
        captions: &Conditioning,
    ) -> Vec<Tensor<3>> {
        let x_t = process.diffuse(x, self.eps.clone(), &self.t);
        let text = process.with_sizes(captions, &x_t);
        let features = critic.features(denoiser, &process.schedule, x_t, &self.t, &text);
        features.expect("the recipe was checked to name blocks that the denoiser shows")
    }
}

/// How the report shows the heads' logits.
pub(crate) const LOGITS: ChartRule = ChartRule::new(
    "Logits, mean over heads",
    "Real should stay above generated, but not run away from it.",
    &["logits_real", "logits_fake"],
)
.with(Items::WithMean("head"));

/// How the report shows on which side of zero the logits are.
pub(crate) const SIGNS: ChartRule = ChartRule::new(
    "Share of logits on their side of zero, mean over heads",
    "Near 1 for both, the heads have won and teach no more; near one half with logits near 0, they are dead.",
    &["sign_real", "sign_fake"],
)
.with(Items::WithMean("head"));

/// Adds each head's mean logits, and the share of them on their side of zero, over a part that is `share` of the batch.
pub(crate) fn report_logits(report: &mut StepReport, share: f64, real: &[Logits], fake: &[Logits]) {
    for (logits, mean, right, side) in
        [(real, "logits_real", "sign_real", 1.0), (fake, "logits_fake", "sign_fake", -1.0)]
    {
        report.heads(mean, share, each(logits, Tensor::mean));
        let above = |l: Tensor<2>| l.mul_scalar(side).greater_elem(0.0).float().mean();
        report.heads(right, share, each(logits, above));
    }
}

/// A figure `[1]` of each head's logits, off the tape.
fn each(logits: &[Logits], figure: impl Fn(Tensor<2>) -> Tensor<1>) -> Vec<Tensor<1>> {
    logits.iter().map(|Logits(l)| figure(l.clone().inner())).collect()
}
