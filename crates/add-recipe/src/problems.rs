//! Problems of a recipe that types cannot rule out: ranges, and parts that must fit together. All of them are collected.

use add_plugin::{Codec, Plugin, TextEncoder};
use add_train::optimizer::AdamWConfig;

use crate::Model;

/// Largest number of denoiser calls for one picture.
pub const MAX_SAMPLING_STEPS: usize = 1000;
/// Longest prompt, in characters. Encoders read 77 tokens of it.
const MAX_PROMPT: usize = 2000;

/// The problems of a recipe, each with the path of its field, such as `objective.teacher.steps`.
#[derive(Debug, Default)]
pub struct Problems(Vec<(String, String)>);

impl Problems {
    /// Path and message of each problem, in the order of the checks.
    pub fn into_list(self) -> Vec<(String, String)> {
        self.0
    }

    /// Adds a problem of the field at `path` unless `holds`.
    pub fn require(&mut self, holds: bool, path: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.0.push((path.to_owned(), message()));
        }
    }

    /// Adds what is wrong with the field at `path`, if anything is.
    pub fn check<E: std::fmt::Display>(&mut self, path: &str, outcome: Result<(), E>) {
        if let Err(problem) = outcome {
            self.0.push((path.to_owned(), problem.to_string()));
        }
    }

    /// Requires a positive number.
    pub fn positive(&mut self, path: &str, value: usize) {
        self.require(value > 0, path, || format!("expected a positive number, got {value}"));
    }

    /// Requires a number of things that are made: at least one, and not so many that making them takes the machine down.
    pub fn size(&mut self, path: &str, value: usize, most: usize) {
        self.require((1..=most).contains(&value), path, || match value {
            0 => format!("expected a positive number, got {value}"),
            _ => format!("expected at most {most}, got {value}"),
        });
    }

    /// Requires a finite number above 0.
    pub fn above(&mut self, path: &str, value: f64) {
        self.require(value > 0.0 && value.is_finite(), path, || {
            format!("expected a number above 0, got {value}")
        });
    }

    /// Requires a number from `low` to `high`, both included.
    pub fn range(&mut self, path: &str, value: f64, low: f64, high: f64) {
        let holds = (low..=high).contains(&value);
        self.require(holds, path, || format!("expected a number from {low} to {high}, got {value}"));
    }

    /// Requires a caption that a text encoder can read.
    pub fn prompt(&mut self, path: &str, prompt: &str) {
        if let Err(message) = check_prompt(prompt) {
            self.require(false, path, || message);
        }
    }

    /// Requires that a model's network, text encoder and codec fit each other, and pictures of `size`.
    pub fn fits(
        &mut self,
        path: &str,
        model: &Model,
        text: &Plugin<dyn TextEncoder>,
        codec: &Plugin<dyn Codec>,
        size: usize,
    ) {
        let (latents, backbone) = (codec.info(), model.backbone.info());
        let at = format!("{path}.backbone");
        self.require(latents.channels == backbone.channels, &at, || {
            format!(
                "expected {} channels, as {} gives, got {}",
                latents.channels,
                codec.name(),
                backbone.channels
            )
        });
        self.check(&at, model.backbone.check_text(text.info()));
        let multiple = latents.reduction * backbone.multiple_of;
        self.require(multiple > 0 && size.is_multiple_of(multiple), "data.size", || {
            format!("expected a multiple of {multiple}, required by {}, got {size}", model.backbone.name())
        });
    }

    /// Requires usable hyper-parameters of an optimiser.
    pub fn optimizer(&mut self, path: &str, config: &AdamWConfig) {
        let field = |name: &str| format!("{path}.{name}");
        self.above(&field("lr"), config.lr);
        self.above(&field("eps"), config.eps);
        self.above(&field("clip_norm"), config.clip_norm);
        self.range(&field("weight_decay"), config.weight_decay, 0.0, 10.0);
        let (beta_1, beta_2) = config.betas;
        let valid = |beta: f64| (0.0..1.0).contains(&beta);
        self.require(valid(beta_1) && valid(beta_2), &field("betas"), || {
            format!("expected two numbers in [0, 1), got ({beta_1}, {beta_2})")
        });
    }
}

/// What a caption may be, whether from a recipe or from a person.
///
/// # Errors
/// When it is longer than any that a text encoder reads.
pub fn check_prompt(prompt: &str) -> Result<(), String> {
    match prompt.chars().count() {
        0..=MAX_PROMPT => Ok(()),
        more => Err(format!("expected at most {MAX_PROMPT} characters, got {more}")),
    }
}
