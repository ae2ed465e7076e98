//! What an `Add(…)` must fulfil in its recipe.

use add_plugin::{Critic, Plugin};
use add_recipe::{Problems, Recipe, Weights, problems::MAX_SAMPLING_STEPS};

use super::{Add, DistillationSpace, ImageCondition, ImageEncoder, Lambda, TeacherModel, TeacherPipeline};

/// Adds what does not hold of an `Add(…)` in its recipe.
pub(super) fn check(p: &mut Problems, recipe: &Recipe, objective: &Add) {
    let steps = recipe.model.schedule.tables().steps();
    objective.student_timesteps.check(p, recipe, &objective.timestep_weights, objective.terminal);
    teacher(p, recipe, objective, steps);
    p.range("objective.caption_dropout", objective.caption_dropout, 0.0, 1.0);
    p.range("objective.backward_simulation", objective.backward_simulation, 0.0, 1.0);
    let (adversarial, distillation) = (&objective.adversarial, &objective.distillation);
    p.range("objective.adversarial.weight", adversarial.weight, 0.0, 1e6);
    p.range("objective.adversarial.gamma", adversarial.gamma, 0.0, 1e6);
    if let Some(own) = adversarial.critic() {
        critic(p, recipe, objective, own);
    }
    lambda(p, distillation.lambda, adversarial.weight > 0.0);
    distillation.course.check(p, "objective.distillation.course");
    p.require(
        distillation.course.is_constant() || adversarial.weight > 0.0,
        "objective.distillation.course",
        || {
            "expected Constant: with `adversarial.weight: 0` a step whose distillation is off learns nothing"
                .to_owned()
        },
    );
    space(p, recipe, &distillation.space);
    p.require(adversarial.weight > 0.0 || !distillation.lambda.is_off(), "objective", || {
        "expected `adversarial.weight` or `distillation.lambda` above 0: with both off nothing is learnt"
            .to_owned()
    });
    p.above("objective.ema_half_life", objective.ema_half_life);
    p.optimizer("objective.generator", &objective.generator);
    p.optimizer("objective.discriminator", &objective.discriminator);
}

/// A critic looks at latents through the teacher, so it must fit that.
fn critic(p: &mut Problems, recipe: &Recipe, objective: &Add, critic: &Plugin<dyn Critic>) {
    let path = "objective.adversarial.features";
    let teacher = objective.teacher_model(recipe);
    let hooks = critic.hooks(&teacher.backbone);
    p.require(hooks.is_ok(), path, || hooks.unwrap_err().to_string());
    for (field, message) in critic.problems(&teacher.schedule.tables()) {
        p.require(false, &format!("{path}.{field}"), || message);
    }
    p.require(objective.teacher.model.pipeline().is_none(), path, || {
        format!("{} looks at the student's latents, so the teacher must share them: expected Initial() or Other(…)", critic.name())
    });
    let adversarial = &objective.adversarial;
    let no_picture = adversarial.image_condition != ImageCondition::Off
        && matches!(adversarial.image_encoder, ImageEncoder::Features);
    p.require(!no_picture, "objective.adversarial.image_encoder", || {
        format!("{} embeds no pictures: expected Network(…), or `image_condition: Off`", critic.name())
    });
}

fn lambda(p: &mut Problems, lambda: Lambda, adversarial: bool) {
    let path = "objective.distillation.lambda";
    match lambda {
        Lambda::Fixed(lambda) => p.range(path, lambda, 0.0, 1e9),
        Lambda::Balanced { ratio, steps } => {
            p.above(path, ratio);
            p.positive(path, steps as usize);
            p.require(adversarial, path, || {
                "expected a number: with `adversarial.weight: 0` there is nothing to balance".to_owned()
            });
        }
    }
}

fn space(p: &mut Problems, recipe: &Recipe, space: &DistillationSpace) {
    let latents = recipe.codec.info();
    let side = recipe.data.size() / latents.reduction.max(1);
    match space {
        DistillationSpace::Pixel | DistillationSpace::Latent => {}
        DistillationSpace::Crop { size } => {
            p.require((1..=side).contains(size), "objective.distillation.space", || {
                format!("expected a crop of 1 to {side} latent values, the whole side, got {size}")
            });
        }
        DistillationSpace::PixelBy(codec) => {
            p.require(codec.info() == latents, "objective.distillation.space", || {
                format!(
                    "expected a codec of the latents of {}, {latents:?}, got {:?}",
                    recipe.codec.name(),
                    codec.info()
                )
            });
        }
    }
}

fn teacher(p: &mut Problems, recipe: &Recipe, objective: &Add, steps: usize) {
    let teacher = &objective.teacher;
    p.size("objective.teacher.steps", teacher.steps, MAX_SAMPLING_STEPS);
    p.prompt("objective.teacher.negative", &teacher.negative);
    p.range("objective.teacher.noise_correlation", teacher.noise_correlation, 0.0, 1.0);
    let (low, high) = teacher.timesteps;
    p.require(low <= high && high < steps, "objective.teacher.timesteps", || {
        format!("expected (smallest, largest) below {steps}, got ({low}, {high})")
    });
    let least = objective.distillation.weighting.minimum_timestep();
    p.require(low >= least, "objective.teacher.timesteps", || {
        format!("expected at least {least}, as {} needs, got {low}", objective.distillation.weighting.name())
    });
    teacher.guidance.check("objective.teacher.guidance", p);
    let random =
        matches!(teacher.model, TeacherModel::Initial()) && recipe.model.weights == Weights::Random();
    p.require(!random, "objective.teacher.model", || {
        "Initial() is the model that the student begins as, and with `model.weights: Random()` that has learnt nothing; for a \
         random student under a trained teacher (ADD, Table 1c) expected Other(backbone: …, schedule: …, weights: …), and \
         `model.text_weights` where the text encoder has no weights of its own"
            .to_owned()
    });
    if let TeacherModel::Pipeline(own) = &teacher.model {
        pipeline(p, recipe, objective, own);
    }
    if let TeacherModel::Other(model) = &teacher.model {
        p.require(model.adapter.is_off(), "objective.teacher.model.adapter", || {
            "expected Off(): a teacher is not trained".to_owned()
        });
        p.fits("objective.teacher.model", model, &recipe.text, &recipe.codec, recipe.data.size());
    }
}

/// A teacher with latents of its own is compared in pictures.
fn pipeline(p: &mut Problems, recipe: &Recipe, objective: &Add, own: &TeacherPipeline) {
    p.require(own.model.adapter.is_off(), "objective.teacher.model.model.adapter", || {
        "expected Off(): a teacher is not trained".to_owned()
    });
    let in_pictures = match objective.distillation.space {
        DistillationSpace::Pixel | DistillationSpace::PixelBy(_) => true,
        DistillationSpace::Crop { .. } | DistillationSpace::Latent => false,
    };
    p.require(in_pictures, "objective.distillation.space", || {
        format!(
            "student and teacher have different latents, {} and {}, so only pictures can be compared: expected Pixel or \
             PixelBy(…)",
            recipe.codec.name(),
            own.codec.name()
        )
    });
    p.require(objective.teacher.noise_correlation <= 0.0, "objective.teacher.noise_correlation", || {
        "expected 0: the student's noise lies in other latents than the teacher's".to_owned()
    });
    p.fits("objective.teacher.model", &own.model, &own.text, &own.codec, recipe.data.size());
}
