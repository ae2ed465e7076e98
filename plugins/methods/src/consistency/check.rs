//! What a `Consistency(…)` must fulfil in its recipe.

use add_loss::ConsistencyDistance;
use add_plugin::Prediction;
use add_recipe::{Problems, Recipe, RowModel, Weights, one_line};

use super::{Consistency, ConsistencyTeacher, Target};
use crate::Guidance;

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
    let untrained = is_told && matches!(method.teacher, ConsistencyTeacher::Initial());
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
    let ConsistencyTeacher::Other(model) = &method.teacher else {
        p.require(recipe.model.weights != Weights::Random(), "objective.teacher", || {
            "expected Other(…): the teacher is the model that the student starts as, and `model.weights: Random()` knows \
             nothing to teach"
                .to_owned()
        });
        return;
    };
    let path = |field: &str| format!("objective.teacher.{field}");
    p.require(model.adapter.is_off(), &path("adapter"), || {
        "expected Off(): a teacher is not trained".to_owned()
    });
    p.fits("objective.teacher", model, &recipe.text, &recipe.codec, recipe.data.size());
    p.require(!model.backbone.takes_guidance(), &path("backbone"), || {
        "expected no `guidance_embedding`: the teacher is asked with and without the text".to_owned()
    });
    let (own, other) = (one_line(&recipe.model.schedule), one_line(&model.schedule));
    p.require(own == other, &path("schedule"), || {
        format!("student and teacher share their trajectories: expected {own}, got {other}")
    });
}
