//! What a `Progressive(…)` must fulfil in its recipe.

use add_plugin::Prediction;
use add_recipe::{Problems, Recipe, RowModel, Weights};

use super::Progressive;
use crate::{Guidance, stages};

/// Adds what does not hold of a `Progressive(…)` in its recipe.
pub(super) fn check(p: &mut Problems, recipe: &Recipe, method: &Progressive) {
    let Progressive { guidance, halving, optimizer, .. } = method;
    let tables = recipe.model.schedule.tables();
    if let Some(stage) = guidance {
        p.positive("objective.guidance.steps", stage.steps as usize);
        stage.scale.check("objective.guidance.scale", p);
        let varies = matches!(stage.scale, Guidance::Uniform(..));
        p.require(!varies || recipe.model.backbone.takes_guidance(), "objective.guidance.scale", || {
            format!(
                "expected Fixed(…): {} is not told its guidance scale, so its student can learn one alone; for a range the \
                 backbone needs a `guidance_embedding`",
                recipe.model.backbone.name()
            )
        });
    }
    evaluation(p, recipe);
    let halves = halving.check(p, tables.steps());
    p.optimizer("objective.optimizer", optimizer);
    p.above("objective.ema_half_life", method.ema_half_life);
    model(p, recipe, tables.has_zero_terminal_snr());
    if halves {
        stages::check(p, recipe, &method.stages(), optimizer);
    }
}

/// A model that is told its guidance scale ignores it before it is trained; measured with one, it would be taken for a guided
/// one.
fn evaluation(p: &mut Problems, recipe: &Recipe) {
    if !recipe.model.backbone.takes_guidance() {
        return;
    }
    for (i, row) in recipe.evaluation.rows.iter().enumerate() {
        let before = matches!(row.model, RowModel::Undistilled | RowModel::Teacher | RowModel::Stated);
        let guided = (row.guidance - 1.0).abs() > f64::EPSILON;
        p.require(!(before && guided), &format!("evaluation.rows.{i}.guidance"), || {
            format!(
                "expected 1: before the distillation the guidance embedding of {:?} means nothing, got {}",
                row.model, row.guidance
            )
        });
    }
}

/// The model that is distilled is its own first teacher.
fn model(p: &mut Problems, recipe: &Recipe, zero_terminal_snr: bool) {
    p.require(recipe.model.weights != Weights::Random(), "model.weights", || {
        "expected the weights of a trained model, which is the first teacher, got Random()".to_owned()
    });
    let noise = recipe.model.backbone.info().prediction == Prediction::Epsilon;
    p.require(!(zero_terminal_snr && noise), "model.schedule", || {
        "zero terminal SNR divides by zero when the model predicts noise; expected a schedule that keeps some signal, or \
         a model with `prediction: V`"
            .to_owned()
    });
}
