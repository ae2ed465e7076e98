//! What a `Dmd2(…)` must fulfil in its recipe.

use add_plugin::feature_hooks;
use add_recipe::{Problems, Recipe};

use super::{Dmd2, Gan};

/// Adds what does not hold of a `Dmd2(…)` in its recipe.
pub(super) fn check(p: &mut Problems, recipe: &Recipe, method: &Dmd2) {
    method.student_timesteps.check(p, recipe, &method.timestep_weights, method.terminal);
    p.range("objective.backward_simulation", method.backward_simulation, 0.0, 1.0);
    method.teacher.check(p, recipe, "objective.teacher");
    method.guidance.check("objective.guidance", p);
    let teacher = method.teacher.model(recipe);
    let steps = teacher.schedule.tables().steps();
    let within = |p: &mut Problems, path: &str, (low, high): (usize, usize)| {
        p.require(low <= high && high < steps, path, || {
            format!("expected (smallest, largest) below {steps}, got ({low}, {high})")
        });
    };
    within(p, "objective.timesteps", method.timesteps);
    p.require(!recipe.model.backbone.takes_guidance(), "model.backbone", || {
        "expected no `guidance_embedding`: a student of distribution matching learns one scale of guidance"
            .to_owned()
    });
    p.require((1..=recipe.run.steps.max(1)).contains(&method.updates), "objective.updates", || {
        format!(
            "expected 1 to {}, the steps of the run, of which each `updates`-th moves the student; got {}",
            recipe.run.steps, method.updates
        )
    });
    if let Some(gan) = &method.gan {
        let Gan { weight, discriminator_weight, blocks, timesteps, .. } = gan;
        p.above("objective.gan.weight", *weight);
        p.above("objective.gan.discriminator_weight", *discriminator_weight);
        p.check("objective.gan.blocks", feature_hooks(&teacher.backbone, blocks).map(|_| ()));
        within(p, "objective.gan.timesteps", *timesteps);
    }
    p.above("objective.ema_half_life", method.ema_half_life);
    p.optimizer("objective.generator", &method.generator);
    p.optimizer("objective.fakes", &method.fakes);
}
