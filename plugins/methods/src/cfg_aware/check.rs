//! What a `CfgAware(…)` must fulfil in its recipe.

use add_plugin::Prediction;
use add_recipe::{Problems, Recipe, Weights};

use super::CfgAware;
use crate::stages;

/// Adds what does not hold of a `CfgAware(…)` in its recipe.
pub(super) fn check(p: &mut Problems, recipe: &Recipe, method: &CfgAware) {
    let tables = recipe.model.schedule.tables();
    let halves = method.halving.check(p, tables.steps());
    method.guidance.check("objective.guidance", p);
    p.range("objective.cfg_probability", method.cfg_probability, 0.0, 1.0);
    p.range("objective.original", method.original, 0.0, 1e6);
    p.optimizer("objective.optimizer", &method.optimizer);
    p.above("objective.ema_half_life", method.ema_half_life);
    p.require(recipe.model.weights != Weights::Random(), "model.weights", || {
        "expected the weights of a trained model, which is the first teacher, got Random()".to_owned()
    });
    p.require(!recipe.model.backbone.takes_guidance(), "model.backbone", || {
        "expected no `guidance_embedding`: student and teacher are asked with and without the text".to_owned()
    });
    let noise = recipe.model.backbone.info().prediction == Prediction::Epsilon;
    p.require(!(tables.has_zero_terminal_snr() && noise), "model.schedule", || {
        "zero terminal SNR divides by zero when the model predicts noise; expected a schedule that keeps some signal, or \
         a model with `prediction: V`"
            .to_owned()
    });
    if halves {
        stages::check(p, recipe, &method.stages(), &method.optimizer);
    }
}
