//! A denoiser that is trained as a discriminator: heads read the states of its blocks at noised latents.
//!
//! It begins as a trained denoiser, so it knows pictures, text and every level of noise before its first step. Denoiser and
//! heads share an optimiser. Sources: Xu et al. 2023 (UFOGen), section 4; Yin et al. 2024 (DMD2), section 4.3.

use add_loss::{Reduction, logistic_discriminator, logistic_generator};
use add_plugin::{Conditioning, Denoiser, Discriminator, Head, Logits, Plugin, Timesteps, fork};
use add_recipe::{Dtype, Hooks, Model, Recipe, Slot, Source, slot::HEADS};
use add_train::{
    gradients::{GradientMap, scalars},
    networks::{NetworkSet, Role, Training},
    optimizer::{AdamWConfig, join},
    process::Process,
    report::StepReport,
};
use burn::tensor::{Gradients, Tensor};

use crate::{
    critic::{CriticLevels, Level, report_logits},
    cut::{gradient_at, leaf, value_and_norm},
};

/// What the names of the denoiser's parameters begin with in its optimiser.
const DENOISER: &str = "denoiser";
/// What those of the heads begin with.
const HEAD: &str = "heads";

/// The networks of a part of the batch, with tapes of their own.
pub(crate) struct LatentDiscriminator<'a> {
    /// The denoiser.
    pub(crate) denoiser: Box<dyn Denoiser>,
    /// Heads on its blocks; `None` for a denoiser that is trained without.
    pub(crate) heads: Option<Box<dyn Discriminator>>,
    /// The blocks.
    pub(crate) blocks: &'a [String],
    /// The denoiser's forward process.
    pub(crate) process: &'a Process,
}

impl<'a> LatentDiscriminator<'a> {
    /// Copies of the denoiser of `role`, and of the heads where the run has some.
    pub(crate) fn fork(
        networks: &NetworkSet,
        role: Role,
        blocks: &'a [String],
        process: &'a Process,
    ) -> Self {
        let heads = networks.get(HEADS).map(|_| fork(networks.heads(HEADS)));
        Self { denoiser: fork(networks.denoiser(role)), heads, blocks, process }
    }

    /// A constant copy on the plain device, for the student's turn.
    pub(crate) fn frozen(&self) -> Self {
        Self {
            denoiser: self.denoiser.frozen(),
            heads: self.heads.as_ref().map(|heads| heads.frozen()),
            blocks: self.blocks,
            process: self.process,
        }
    }

    /// What the heads say of clean latents `x` `[B, C, H, W]` that are noised to `level`: one `[B, N]` per head. The clean level,
    /// -1, is called 0 to the denoiser, which knows none below.
    fn logits(&self, x: Tensor<4>, level: &Level, captions: &Conditioning) -> Vec<Logits> {
        let x_t = self.process.diffuse(x, level.eps.clone(), &level.t);
        let text = self.process.with_sizes(captions, &x_t);
        let known = Timesteps(level.t.0.iter().map(|t| t.max(0.0)).collect());
        let times = self.process.schedule.network_times(&known);
        let features = self.denoiser.features(x_t, &times, &text, self.blocks);
        let features = features.expect("the recipe was checked to name blocks that the denoiser shows");
        self.heads.as_ref().expect("a method without heads asks for no logits").logits(&features, None)
    }

    /// The gradient of `weight` times the student's loss at its pictures `x_hat`, a part's `share` of it, by a frozen
    /// discriminator; the loss and the gradient's norm are reported as `loss_adv` and `grad_norm_adv`.
    pub(crate) fn student_gradient(
        &self,
        x_hat: &Tensor<4>,
        level: &Level,
        captions: &Conditioning,
        (weight, share): (f64, f64),
        report: &mut StepReport,
    ) -> Tensor<4> {
        let leaf = leaf(x_hat);
        let logits = self.logits(leaf.clone(), level, captions);
        let loss = logistic_generator(&logits, Reduction::Mean) * share;
        let gradient = gradient_at(&leaf, loss.clone() * weight);
        let [value, norm] = value_and_norm(loss, &gradient);
        report.number("loss_adv", value);
        report.norm("grad_norm_adv", norm);
        gradient
    }

    /// Its own loss `[1]` on `real` latents and on `fakes`, a part's `share` of it, with the figures of both sides.
    pub(crate) fn loss(
        &mut self,
        [real, fakes]: [Tensor<4>; 2],
        levels: &CriticLevels,
        captions: &Conditioning,
        share: f64,
        report: &mut StepReport,
    ) -> Tensor<1> {
        self.power_iterate();
        let on_fake = self.logits(fakes, &levels.fake, captions);
        self.power_iterate();
        let on_real = self.logits(real, &levels.real, captions);
        let (real, fake) = logistic_discriminator(&on_real, &on_fake, Reduction::Mean);
        let (real, fake) = (real * share, fake * share);
        let read = scalars([real.clone().inner(), fake.clone().inner()]);
        report.number("loss_d", read[0] + read[1]);
        report.number("loss_d_real", read[0]);
        report.number("loss_d_fake", read[1]);
        report_logits(report, share, &on_real, &on_fake);
        real + fake
    }

    /// What must happen once before each forward pass of the heads in training.
    fn power_iterate(&mut self) {
        if let Some(heads) = &mut self.heads {
            heads.power_iterate();
        }
    }

    /// The gradients of denoiser and heads, by the names that they have in their optimiser.
    pub(crate) fn take_gradients(&self, tape: &mut Gradients) -> GradientMap {
        let named = |prefix: &'static str, gradients: GradientMap| {
            gradients.into_iter().map(move |(path, gradient)| (join(prefix, &path), gradient))
        };
        let mut all: GradientMap = named(DENOISER, self.denoiser.take_gradients(tape)).collect();
        if let Some(heads) = &self.heads {
            all.extend(named(HEAD, heads.take_gradients(tape)));
        }
        all
    }
}

/// Iterates the heads of the run as each part has done with its copy: once for fakes and once for real latents.
pub(crate) fn power_iterate(networks: &mut NetworkSet) {
    if networks.get(HEADS).is_some() {
        networks.heads_mut(HEADS).power_iterate();
        networks.heads_mut(HEADS).power_iterate();
    }
}

/// How a recipe's networks are trained as a discriminator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DiscriminatorTraining {
    /// The denoiser's role.
    pub(crate) role: Role,
    /// The optimiser of both, by the name of its file.
    pub(crate) optimizer: &'static str,
    /// Its hyper-parameters.
    pub(crate) config: AdamWConfig,
    /// The file of a checkpoint that holds the denoiser.
    pub(crate) file: &'static str,
}

impl DiscriminatorTraining {
    fn of(self, file: &'static str, prefix: &'static str) -> Training {
        Training { optimizer: self.optimizer, config: self.config, file, prefix, average: None }
    }

    /// How the denoiser is trained.
    pub(crate) fn of_denoiser(self) -> Training {
        self.of(self.file, DENOISER)
    }

    /// How the heads are trained.
    pub(crate) fn of_heads(self) -> Training {
        self.of("heads", HEAD)
    }

    /// The denoiser on the list of a method: it begins with the values of `model`.
    pub(crate) fn denoiser<'a>(self, recipe: &'a Recipe, model: &'a Model) -> Slot<'a> {
        let source = Source::Model { model, text: &recipe.text, codec: &recipe.codec };
        Slot::trained(self.role, source, self.of_denoiser(), recipe.dtype.model)
    }

    /// The heads on that list, on `hooks` of the denoiser.
    pub(crate) fn heads(self, heads: &Plugin<dyn Head>, hooks: Vec<(String, usize)>) -> Slot<'_> {
        let on = Hooks::Blocks(self.role, hooks);
        let source = Source::Heads { heads, on, condition: Vec::new() };
        Slot::trained(HEADS, source, self.of_heads(), Dtype::F32)
    }
}
