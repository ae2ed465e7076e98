//! What a `Reflow(…)` must fulfil in its recipe.

use add_loss::ConsistencyDistance;
use add_plugin::{Estimate, NoiseSchedule, Prediction, Sampler, SamplerContext, Start, Timesteps};
use add_recipe::{Problems, Recipe, Weights, problems::MAX_SAMPLING_STEPS};
use burn::tensor::{Device, Tensor};

use super::{Lesson, Pool, Reflow};
use crate::{stages, student::Terminal};

/// Most straightenings.
const MAX_REFLOWS: usize = 100;

/// Adds what does not hold of a `Reflow(…)` in its recipe.
pub(super) fn check(p: &mut Problems, recipe: &Recipe, method: &Reflow) {
    let Reflow { reflows, reflow, distillation, pool, .. } = method;
    p.require(*reflows <= MAX_REFLOWS, "objective.reflows", || {
        format!("expected at most {MAX_REFLOWS}, got {reflows}")
    });
    p.require(*reflows > 0 || distillation.is_some(), "objective.reflows", || {
        "expected at least 1, or a `distillation`: with neither nothing is learnt".to_owned()
    });
    lesson(p, "objective.reflow", *reflow);
    if let Some(own) = distillation {
        lesson(p, "objective.distillation", *own);
    }
    let Pool { batches, uses } = *pool;
    p.positive("objective.pool.batches", batches as usize);
    p.positive("objective.pool.uses", uses as usize);
    if let ConsistencyDistance::Huber(c) = method.distance {
        p.above("objective.distance", c);
    }
    if let Some(perceptual) = &method.perceptual {
        p.above("objective.perceptual.weight", perceptual.weight);
        p.require(distillation.is_some(), "objective.perceptual", || {
            "expected None: pictures are compared in the `distillation` alone, and there is none".to_owned()
        });
    }
    p.above("objective.ema_half_life", method.ema_half_life);
    p.optimizer("objective.optimizer", &method.optimizer);
    model(p, recipe, method);
    if *reflows <= MAX_REFLOWS {
        stages::check(p, recipe, &method.stages(), &method.optimizer);
    }
}

fn lesson(p: &mut Problems, path: &str, lesson: Lesson) {
    let field = |name: &str| format!("{path}.{name}");
    p.positive(&field("steps"), lesson.steps as usize);
    p.size(&field("sampling_steps"), lesson.sampling_steps, MAX_SAMPLING_STEPS);
    p.range(&field("guidance"), lesson.guidance, 0.0, 100.0);
}

/// The model that is straightened is its own first teacher.
fn model(p: &mut Problems, recipe: &Recipe, method: &Reflow) {
    p.require(recipe.model.weights != Weights::Random(), "model.weights", || {
        "expected the weights of a trained model, which is the first teacher, got Random()".to_owned()
    });
    p.require(!recipe.model.backbone.takes_guidance(), "model.backbone", || {
        "expected no `guidance_embedding`: the teacher is asked with and without the text, and pairs have one scale"
            .to_owned()
    });
    let tables = recipe.model.schedule.tables();
    let noise = recipe.model.backbone.info().prediction == Prediction::Epsilon;
    let zero = tables.alpha((tables.steps() - 1) as f64) <= 0.0;
    p.require(!(zero && noise), "model.schedule", || {
        "zero terminal SNR divides by zero when the model predicts noise; expected a schedule that keeps some signal, \
         with `terminal: InputReplacement`"
            .to_owned()
    });
    let replaced = method.terminal == Terminal::InputReplacement;
    p.require(zero || replaced || method.distillation.is_none(), "objective.terminal", || {
        "one step starts from pure noise, so training must see it: expected a schedule that ends in it, such as \
         ZeroTerminalSnr or RectifiedFlow, or `terminal: InputReplacement`"
            .to_owned()
    });
    p.require(!asks_for_noise(&*method.sampler, &tables), "objective.sampler", || {
        format!(
            "expected a sampler without fresh noise, such as Ddim() or DpmSolver2M(): a pair is what the noise alone decides, \
             and {} adds more on its way",
            method.sampler.name()
        )
    });
}

/// Whether the sampler draws noise beside that from which it starts, found by three steps on a single value.
fn asks_for_noise(sampler: &dyn Sampler, schedule: &NoiseSchedule) -> bool {
    let zero = || Tensor::<4>::zeros([1, 1, 1, 1], &Device::flex());
    let mut asked = false;
    let mut context = SamplerContext {
        steps: 3.min(schedule.steps()),
        schedule,
        student_timesteps: &[],
        noise: zero(),
        start: Start::Noise,
        fresh_noise: &mut |_| {
            asked = true;
            zero()
        },
    };
    sampler.sample(&mut context, &mut |_: Tensor<4>, _: &Timesteps| Estimate { x0: zero(), epsilon: zero() });
    asked
}
