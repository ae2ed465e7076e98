//! Checks that types cannot make: ranges, and parts that must fit together. All problems are collected.

use add_plugin::Prediction;
use add_train::{add_step::Terminal, optimizer::AdamWConfig};

use crate::recipe::{
    AddObjective, DeviceChoice, DiffusionObjective, DistillationSpace, Dtype, Guidance, Objective, Recipe,
    StudentTimesteps, TeacherModel,
};

/// Most pictures per step, and parts of a batch.
const MAX_BATCH: usize = 1 << 16;
const MAX_SHARDS: usize = 256;
/// Most denoiser calls of one picture.
pub(crate) const MAX_SAMPLING_STEPS: usize = 1000;
/// Most pictures of one evaluation; the papers take 50,000.
const MAX_SAMPLES: usize = 1_000_000;
/// Most half-samples of a figure, and most pictures that are timed.
const MAX_REPEATS: usize = 10_000;
/// Most preview prompts, each a column of the grid.
const MAX_PREVIEWS: usize = 64;
/// Largest side of a picture, in pixels.
const MAX_SIDE: usize = 4096;
/// Longest prompt, in characters. Encoders read 77 tokens of it.
const MAX_PROMPT: usize = 2000;

/// Most threads that load batches.
const MAX_WORKERS: usize = 256;

/// Path and message of each problem.
pub(crate) fn check(recipe: &Recipe) -> Vec<(String, String)> {
    let mut problems = Problems::default();
    let p = &mut problems;
    let good_name = !recipe.name.is_empty()
        && recipe.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    p.require(good_name && !recipe.name.starts_with('.'), "name", || {
        format!("expected letters, digits, `-`, `_` and `.`, since it names a folder; got {:?}", recipe.name)
    });
    p.size("batch", recipe.batch, MAX_BATCH);
    p.size("shards", recipe.shards, MAX_SHARDS);
    let parts = recipe.shards.saturating_mul(recipe.rounds);
    p.require(parts > 0 && recipe.batch.is_multiple_of(parts), "shards", || {
        let Recipe { batch, shards, rounds, .. } = recipe;
        format!("expected `shards` times `rounds` to divide the batch, {batch}, got {shards} and {rounds}")
    });
    p.require(recipe.workers <= MAX_WORKERS, "workers", || {
        format!("expected at most {MAX_WORKERS} threads, got {}", recipe.workers)
    });
    for (field, value) in [
        ("run.log_every", recipe.run.log_every),
        ("run.sample_every", recipe.run.sample_every),
        ("run.checkpoint_every", recipe.run.checkpoint_every),
        ("run.keep", recipe.run.keep as u64),
    ] {
        p.positive(field, value as usize);
    }
    p.size("sampling.steps", recipe.sampling.steps, MAX_SAMPLING_STEPS);
    pictures(p, recipe);
    p.range("sampling.guidance", recipe.sampling.guidance, 0.0, 100.0);
    fits(p, recipe);
    let distils = matches!(recipe.objective, Objective::Add(_));
    p.require(recipe.model.adapter.is_off() || distils, "model.adapter", || {
        "expected Off(): adapters are for `objective: Add(…)`, whose student begins as a trained model"
            .to_owned()
    });
    dtypes(p, recipe);
    match &recipe.objective {
        Objective::Off() => {}
        Objective::Diffusion(objective) => diffusion(p, objective),
        Objective::Add(objective) => add(p, recipe, objective),
    }
    problems.0
}

/// Types that the device and the networks' parts in the run allow.
fn dtypes(p: &mut Problems, recipe: &Recipe) {
    let dtype = recipe.dtype;
    p.require(dtype.are_f32() || recipe.device != DeviceChoice::NdArray(), "dtype", || {
        "expected F32 everywhere: the ndarray backend knows no bf16".to_owned()
    });
    let trained = matches!(recipe.objective, Objective::Diffusion(_)) || recipe.text.weights().is_empty();
    p.require(dtype.text == Dtype::F32 || !trained, "dtype.text", || {
        "expected F32: this text encoder's values are part of the model that is trained".to_owned()
    });
}

/// The pictures that show and measure a run.
fn pictures(p: &mut Problems, recipe: &Recipe) {
    let preview = &recipe.preview;
    p.require(preview.prompts.len() <= MAX_PREVIEWS, "preview.prompts", || {
        format!("expected at most {MAX_PREVIEWS} prompts, got {}", preview.prompts.len())
    });
    for (i, prompt) in preview.prompts.iter().enumerate() {
        let found = check_prompt(prompt);
        p.require(found.is_ok(), &format!("preview.prompts.{i}"), || found.unwrap_err());
    }
    for (i, &steps) in preview.steps.iter().enumerate() {
        p.size(&format!("preview.steps.{i}"), steps, MAX_SAMPLING_STEPS);
    }
    p.range("preview.guidance", preview.guidance, 0.0, 100.0);
    for (field, samples) in [
        ("evaluation.samples", recipe.evaluation.samples),
        ("evaluation.samples_after_training", recipe.evaluation.samples_after_training),
    ] {
        p.require(samples <= MAX_SAMPLES, field, || format!("expected at most {MAX_SAMPLES}, got {samples}"));
    }
    for (field, count) in [
        ("evaluation.resamples", recipe.evaluation.resamples),
        ("evaluation.latency", recipe.evaluation.latency),
    ] {
        p.require(count <= MAX_REPEATS, field, || format!("expected at most {MAX_REPEATS}, got {count}"));
    }
    for (i, row) in recipe.evaluation.rows.iter().enumerate() {
        p.size(&format!("evaluation.rows.{i}.steps"), row.steps, MAX_SAMPLING_STEPS);
        p.range(&format!("evaluation.rows.{i}.guidance"), row.guidance, 0.0, 100.0);
        for (field, side) in [("size", row.size), ("measured_at", row.measured_at)] {
            if let Some(side) = side {
                p.size(&format!("evaluation.rows.{i}.{field}"), side, MAX_SIDE);
            }
        }
    }
}

/// What a caption may be, whether from a recipe or from the command line.
///
/// # Errors
/// When it is longer than any that a text encoder reads.
pub(crate) fn check_prompt(prompt: &str) -> Result<(), String> {
    match prompt.chars().count() {
        0..=MAX_PROMPT => Ok(()),
        more => Err(format!("expected at most {MAX_PROMPT} characters, got {more}")),
    }
}

/// Data, codec and backbone must agree on shapes.
fn fits(p: &mut Problems, recipe: &Recipe) {
    let (latents, backbone, size) = (recipe.codec.info(), recipe.model.backbone.info(), recipe.data.size());
    p.require(latents.channels == backbone.channels, "model.backbone", || {
        format!(
            "expected {} channels, as {} gives, got {}",
            latents.channels,
            recipe.codec.name(),
            backbone.channels
        )
    });
    let multiple = latents.reduction * backbone.multiple_of;
    p.size("data.size", size, MAX_SIDE);
    p.require(size % multiple == 0, "data.size", || {
        format!("expected a multiple of {multiple}, as {} wants, got {size}", recipe.model.backbone.name())
    });
}

fn diffusion(p: &mut Problems, objective: &DiffusionObjective) {
    p.range("objective.caption_dropout", objective.caption_dropout, 0.0, 1.0);
    p.above("objective.ema_half_life", objective.ema_half_life);
    optimizer(p, "objective.optimizer", &objective.optimizer);
}

fn add(p: &mut Problems, recipe: &Recipe, objective: &AddObjective) {
    let tables = recipe.model.schedule.tables();
    if let StudentTimesteps::Trailing(n) = objective.student_timesteps
        && n > tables.steps()
    {
        p.require(false, "objective.student_timesteps", || {
            format!("expected at most {}, as the schedule has, got Trailing({n})", tables.steps())
        });
        return;
    }
    let timesteps = objective.student_timesteps.resolve(tables.steps());
    let ascending = timesteps.windows(2).all(|w| w[0] < w[1]);
    let inside = timesteps.iter().all(|&t| t < tables.steps());
    p.require(!timesteps.is_empty() && ascending && inside, "objective.student_timesteps", || {
        format!("expected ascending timesteps below {}, got {timesteps:?}", tables.steps())
    });
    let weights = &objective.timestep_weights;
    let usable = weights.iter().all(|w| *w >= 0.0 && w.is_finite()) && weights.iter().sum::<f64>() > 0.0;
    p.require(
        weights.is_empty() || (usable && weights.len() == timesteps.len()),
        "objective.timestep_weights",
        || {
            format!(
                "expected {} numbers that are not negative and not all zero, got {weights:?}",
                timesteps.len()
            )
        },
    );
    let prediction = recipe.model.backbone.info().prediction;
    let zero = tables.has_zero_terminal_snr();
    p.require(!(zero && prediction == Prediction::Epsilon), "model.schedule", || {
        "zero terminal SNR divides by zero when the model predicts noise; expected a schedule that keeps some signal, \
         with `terminal: InputReplacement`"
            .to_owned()
    });
    let last = timesteps.last() == Some(&(tables.steps() - 1));
    p.require((zero && last) || objective.terminal == Terminal::InputReplacement, "objective.terminal", || {
        "sampling starts from pure noise, so training must see it: expected a ZeroTerminalSnr schedule with its last \
         timestep as the student's last, or `terminal: InputReplacement`"
            .to_owned()
    });
    teacher(p, recipe, objective, tables.steps());
    p.range("objective.caption_dropout", objective.caption_dropout, 0.0, 1.0);
    p.range("objective.backward_simulation", objective.backward_simulation, 0.0, 1.0);
    let (adversarial, distillation) = (&objective.adversarial, &objective.distillation);
    p.range("objective.adversarial.weight", adversarial.weight, 0.0, 1e6);
    p.range("objective.adversarial.gamma", adversarial.gamma, 0.0, 1e6);
    p.range("objective.distillation.lambda", distillation.lambda, 0.0, 1e9);
    space(p, recipe, &distillation.space);
    p.require(adversarial.weight > 0.0 || distillation.lambda > 0.0, "objective", || {
        "expected `adversarial.weight` or `distillation.lambda` above 0: with both off nothing is learnt"
            .to_owned()
    });
    p.above("objective.ema_half_life", objective.ema_half_life);
    optimizer(p, "objective.generator", &objective.generator);
    optimizer(p, "objective.discriminator", &objective.discriminator);
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

fn teacher(p: &mut Problems, recipe: &Recipe, objective: &AddObjective, steps: usize) {
    let teacher = &objective.teacher;
    p.size("objective.teacher.steps", teacher.steps, MAX_SAMPLING_STEPS);
    let negative = check_prompt(&teacher.negative);
    p.require(negative.is_ok(), "objective.teacher.negative", || negative.unwrap_err());
    p.range("objective.teacher.noise_correlation", teacher.noise_correlation, 0.0, 1.0);
    let (low, high) = teacher.timesteps;
    p.require(low <= high && high < steps, "objective.teacher.timesteps", || {
        format!("expected (smallest, largest) below {steps}, got ({low}, {high})")
    });
    let least = objective.distillation.weighting.minimum_timestep();
    p.require(low >= least, "objective.teacher.timesteps", || {
        format!("expected at least {least}, as {} needs, got {low}", objective.distillation.weighting.name())
    });
    match teacher.guidance {
        Guidance::Fixed(w) => p.range("objective.teacher.guidance", w, 0.0, 100.0),
        Guidance::Uniform(low, high) => {
            p.range("objective.teacher.guidance", low, 0.0, 100.0);
            p.require(low <= high && high <= 100.0, "objective.teacher.guidance", || {
                format!("expected (smallest, largest) up to 100, got ({low}, {high})")
            });
        }
    }
    if let TeacherModel::Other(model) = &teacher.model {
        p.require(model.adapter.is_off(), "objective.teacher.model.adapter", || {
            "expected Off(): a teacher is not trained".to_owned()
        });
        let (own, other) = (recipe.model.backbone.info().channels, model.backbone.info().channels);
        p.require(own == other, "objective.teacher.model", || {
            format!("student and teacher share their latents: expected {own} channels, got {other}")
        });
    }
}

fn optimizer(p: &mut Problems, path: &str, config: &AdamWConfig) {
    let field = |name: &str| format!("{path}.{name}");
    p.above(&field("lr"), config.lr);
    p.above(&field("eps"), config.eps);
    p.above(&field("clip_norm"), config.clip_norm);
    p.range(&field("weight_decay"), config.weight_decay, 0.0, 10.0);
    let (beta_1, beta_2) = config.betas;
    let valid = |beta: f64| (0.0..1.0).contains(&beta);
    p.require(valid(beta_1) && valid(beta_2), &field("betas"), || {
        format!("expected two numbers in [0, 1), got ({beta_1}, {beta_2})")
    });
}

#[derive(Default)]
struct Problems(Vec<(String, String)>);

impl Problems {
    fn require(&mut self, holds: bool, path: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.0.push((path.to_owned(), message()));
        }
    }

    fn positive(&mut self, path: &str, value: usize) {
        self.require(value > 0, path, || format!("expected a positive number, got {value}"));
    }

    /// A number of things that are made: at least one, and not so many that making them takes the machine down.
    fn size(&mut self, path: &str, value: usize, most: usize) {
        self.require((1..=most).contains(&value), path, || match value {
            0 => format!("expected a positive number, got {value}"),
            _ => format!("expected at most {most}, got {value}"),
        });
    }

    fn above(&mut self, path: &str, value: f64) {
        self.require(value > 0.0 && value.is_finite(), path, || {
            format!("expected a number above 0, got {value}")
        });
    }

    fn range(&mut self, path: &str, value: f64, low: f64, high: f64) {
        let holds = (low..=high).contains(&value);
        self.require(holds, path, || format!("expected a number from {low} to {high}, got {value}"));
    }
}
