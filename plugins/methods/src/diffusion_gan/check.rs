//! What a `DiffusionGan(…)` must fulfil in its recipe.

use add_plugin::feature_hooks;
use add_recipe::{Problems, Recipe, one_line};

use super::DiffusionGan;

/// Adds what does not hold of a `DiffusionGan(…)` in its recipe.
pub(super) fn check(p: &mut Problems, recipe: &Recipe, method: &DiffusionGan) {
    method.student_timesteps.check(p, recipe, &method.timestep_weights, method.terminal);
    p.range("objective.reconstruction", method.reconstruction, 0.0, 1e6);
    let discriminator = &method.discriminator;
    let path = "objective.discriminator.model";
    discriminator.model.check(p, recipe, path);
    let model = discriminator.model.model(recipe);
    p.check(
        "objective.discriminator.blocks",
        feature_hooks(&model.backbone, &discriminator.blocks).map(|_| ()),
    );
    let (own, other) = (one_line(&recipe.model.schedule), one_line(&model.schedule));
    p.require(own == other, &format!("{path}.schedule"), || {
        format!("student and discriminator share their levels of noise: expected {own}, got {other}")
    });
    p.require(!recipe.model.backbone.takes_guidance(), "model.backbone", || {
        "expected no `guidance_embedding`: a diffusion GAN has no guidance to be told".to_owned()
    });
    p.above("objective.ema_half_life", method.ema_half_life);
    p.optimizer("objective.generator", &method.generator);
    p.optimizer("objective.discriminator.optimizer", &discriminator.optimizer);
}
