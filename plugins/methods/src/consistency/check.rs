//! What a `Consistency(…)` must fulfil in its recipe.

use add_loss::ConsistencyDistance;
use add_plugin::Prediction;
use add_recipe::{Problems, Recipe, RowModel, one_line};

use super::{Consistency, Target};
use crate::{Distilled, Guidance};

/// Adds what does not hold of a `Consistency(…)` in its recipe.
pub(super) fn check(p: &mut Problems, recipe: &Recipe, method: &Consistency) {
    let tables = recipe.model.schedule.tables();
    p.size("objective.skip", method.skip, tables.steps());
    p.above("objective.timestep_scaling", method.timestep_scaling);
    if let ConsistencyDistance::Huber(c) = method.distance {
        p.above("objective.distance", c);
    }
    p.range("objective.caption_dropout", method.caption_dropout, 0.0, 1.0);
    p.above("objective.ema_half_life", method.ema_half_life);
    p.optimizer("objective.optimizer", &method.optimizer);
    let noise = recipe.model.backbone.info().prediction == Prediction::Epsilon;
    p.require(!(noise && tables.has_zero_terminal_snr()), "model.schedule", || {
        "zero terminal SNR divides by zero when the model predicts noise; expected a schedule that keeps some signal"
            .to_owned()
    });
    p.require(recipe.model.adapter.is_off() || method.target == Target::Student, "objective.target", || {
        "expected Student: with adapters there is no averaged network to ask, only averaged adapters"
            .to_owned()
    });
    guidance(p, recipe, method);
    teacher(p, recipe, method);
}

fn guidance(p: &mut Problems, recipe: &Recipe, method: &Consistency) {
    method.guidance.check("objective.guidance", p);
    let is_told = recipe.model.backbone.takes_guidance();
    let varies = matches!(method.guidance, Guidance::Uniform(..));
    p.require(is_told || !varies, "objective.guidance", || {
        format!(
            "expected Fixed(…): {} is not told its guidance scale, so its student can learn one alone; for a range the \
             backbone needs a `guidance_embedding`",
            recipe.model.backbone.name()
        )
    });
    // Such a model ignores the scale until it is trained; measured with one, it would be taken for a guided one.
    let untrained = is_told && matches!(method.teacher, Distilled::Initial());
    for (i, row) in recipe.evaluation.rows.iter().enumerate() {
        let before = match row.model {
            RowModel::Undistilled | RowModel::Stated => is_told,
            RowModel::Teacher => untrained,
            RowModel::Student | RowModel::Recipe(_) | RowModel::Released(_) => false,
        };
        let guided = (row.guidance - 1.0).abs() > f64::EPSILON;
        p.require(!(before && guided), &format!("evaluation.rows.{i}.guidance"), || {
            format!(
                "expected 1: before the distillation the model's guidance embedding means nothing, got {}",
                row.guidance
            )
        });
    }
}

fn teacher(p: &mut Problems, recipe: &Recipe, method: &Consistency) {
    method.teacher.check(p, recipe, "objective.teacher");
    let (own, other) = (one_line(&recipe.model.schedule), one_line(&method.teacher.model(recipe).schedule));
    p.require(own == other, "objective.teacher.schedule", || {
        format!("student and teacher share their trajectories: expected {own}, got {other}")
    });
}
