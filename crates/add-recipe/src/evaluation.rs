//! The part of a recipe under `evaluation`.

use add_plugin::{Codec, DataSource, Metric, Plugin, Sampler, TextEncoder};
use serde::{Deserialize, Serialize};

use crate::Model;

/// What `eval` measures.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluation {
    /// Whose captions are sampled and whose pictures are the real ones, where those are not the data of training, such as
    /// `Coco(path: "coco", size: 512)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Plugin<dyn DataSource>>,
    /// What is measured.
    pub metrics: Vec<Plugin<dyn Metric>>,
    /// Whether what the codec makes of real pictures, encoded and decoded, is measured too, as a row of its own. Written out only
    /// where it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub codec: bool,
    /// Models, samplers and step counts; one row of the table each.
    pub rows: Vec<EvaluationRow>,
    /// Pictures per row.
    pub samples: usize,
    /// Pictures per row right after training; 0 leaves it out.
    pub samples_after_training: usize,
    /// Random half-samples from which the interval of a figure is estimated; 0 leaves the intervals out.
    pub resamples: usize,
    /// Pictures that are made one by one to time them, after a first one; 0 leaves it out.
    pub latency: usize,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self {
            data: None,
            metrics: Vec::new(),
            codec: false,
            rows: Vec::new(),
            samples: 0,
            samples_after_training: 0,
            resamples: 20,
            latency: 8,
        }
    }
}

/// One row of the evaluation table.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRow {
    /// Which model.
    pub model: RowModel,
    /// What the table calls it [default: which model it is].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its sampler.
    pub sampler: Plugin<dyn Sampler>,
    /// Denoiser calls.
    pub steps: usize,
    /// Guidance scale.
    #[serde(default = "one")]
    pub guidance: f64,
    /// Side of its pictures in pixels [default: that of the recipe's data].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Side at which its pictures are measured, by area averaging, so that models of different sizes can be compared
    /// [default: the side at which they are made].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_at: Option<usize>,
    /// Whether the row is also measured right after training.
    #[serde(default)]
    pub after_training: bool,
}

/// A model that is evaluated beside the recipe's own.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasedModel {
    /// Its text encoder.
    pub text: Plugin<dyn TextEncoder>,
    /// Its codec.
    pub codec: Plugin<dyn Codec>,
    /// Backbone, schedule and weights.
    pub model: Model,
}

/// Which model a row is about.
#[derive(Debug, Serialize, Deserialize)]
pub enum RowModel {
    /// The run's averaged student.
    Student,
    /// The student before its first step.
    Undistilled,
    /// The teacher.
    Teacher,
    /// The recipe's model with the weights that it states, whatever was trained.
    Stated,
    /// The model of another recipe, with its own text encoder and codec; relative to this recipe.
    Recipe(String),
    /// A released model.
    Released(Box<ReleasedModel>),
}

impl RowModel {
    /// The model of the run that it is, if it is one.
    pub fn of_run(&self) -> Option<EvaluatedModel> {
        match self {
            Self::Student => Some(EvaluatedModel::Student),
            Self::Undistilled => Some(EvaluatedModel::Undistilled),
            Self::Teacher => Some(EvaluatedModel::Teacher),
            Self::Stated | Self::Recipe(_) | Self::Released(_) => None,
        }
    }
}

/// A model of a run that an evaluation may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EvaluatedModel {
    /// The run's averaged student.
    Student,
    /// The student before its first step.
    Undistilled,
    /// The teacher.
    Teacher,
}

impl EvaluatedModel {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Student => "student",
            Self::Undistilled => "undistilled",
            Self::Teacher => "teacher",
        }
    }
}

/// No guidance.
fn one() -> f64 {
    1.0
}
