//! Family `Metric`: what an evaluation measures on pictures.
//!
//! A metric says through which networks it looks at pictures ([`View`]) and what else it needs ([`Needs`]). The evaluation
//! takes each different view once, however many metrics share it, and hands the features to the metric's
//! [`Measurement`]: those of the real pictures once, those of each evaluated model in turn.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{FeatureExtractor, FeatureNetwork, Picture, Plugin, PluginError, registry::Family};

/// A metric, as the recipe states it.
pub trait Metric: Family {
    /// Through which networks it looks at pictures, in the order in which it is handed their features.
    fn views(&self) -> Vec<View<'_>> {
        Vec::new()
    }

    /// What it needs beside the generated pictures.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Whether the networks of its [`views`](Self::views), in their order, and its own fit it; asked before any weights are
    /// read, so only shapes and names are there to look at.
    ///
    /// # Errors
    /// Names the field that does not fit, what was expected and what was stated.
    fn check(&self, _networks: &[&dyn FeatureExtractor]) -> Result<(), PluginError> {
        Ok(())
    }

    /// The metric, given the networks of its [`views`](Self::views) in their order; networks of its own go on `device`.
    ///
    /// # Errors
    /// When weights of its own cannot be had.
    fn init(
        &self,
        networks: &[&dyn FeatureExtractor],
        device: &Device,
    ) -> Result<Box<dyn Measurement>, PluginError>;
}

/// A way of looking at pictures: how they are brought to a network's input, the network, and what is read off it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The network.
    pub network: &'a Plugin<dyn FeatureNetwork>,
    /// From 8-bit pictures to its input.
    pub preparation: Preparation,
    /// What is read off it.
    pub output: Output,
}

/// How a picture becomes a network's square input. A part of each metric's protocol: mixing them moves a Frechet distance
/// by several points (Parmar et al. 2022).
#[derive(Debug, Clone, Copy)]
pub struct Preparation {
    /// Its name; two preparations of one name are taken to be the same.
    pub name: &'static str,
    /// A picture to planes `[3, side, side]`, row-major, in the network's convention for `[-1, 1]`.
    pub apply: fn(&Picture, side: usize) -> Vec<f32>,
}

/// What a view reads off its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    /// One set of features per hook: the mean over the hook's positions.
    Hooks,
    /// One set of features: the picture's embedding.
    Embedding,
}

/// What a metric needs beside the generated pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Whether captions: it compares each picture with what it was made from.
    pub captions: bool,
    /// What it must know of the real pictures.
    pub reference: Knowledge,
    /// Fewest pictures that it can measure, and fewest real ones that it can compare with.
    pub pictures: usize,
    /// Groups of pictures of one caption each, if it measures how they differ.
    pub groups: Option<Groups>,
}

/// How much a metric must know of the real pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Knowledge {
    /// Nothing about the pictures.
    #[default]
    Nothing,
    /// Mean and covariance of their features.
    Statistics,
    /// The features of each.
    Features,
}

/// How many captions, and how many pictures of each, differing by their noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// Number of captions.
    pub captions: usize,
    /// Pictures of each caption.
    pub pictures: usize,
}

/// What the data knows about one picture: `(labelling, label)`, such as `("style", "noto")`.
pub type Labels = Vec<(&'static str, String)>;

/// Features of many pictures, a row each. Most of them lie on the disk and are read a few at a time, so that as many pictures
/// as there are cost no more memory than a thousand; a clone costs little.
pub type Features = add_files::Rows;

/// Gathers the [`Features`] of one picture after another.
pub type FeaturesWriter = add_files::RowsWriter;

/// Mean and covariance of features.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// The mean, `[width]`.
    pub mean: Vec<f64>,
    /// The covariance with divisor `pictures - 1`, `[width, width]` row-major.
    pub covariance: Vec<f64>,
}

/// What is known of the real pictures through one view: an entry per hook, or one of the embedding.
#[derive(Debug, Clone, Copy)]
pub enum Reference<'a> {
    /// The features of each picture.
    Features(&'a [Features]),
    /// Their statistics alone, as read from a file.
    Statistics(&'a [Statistics]),
}

/// Generated pictures as a metric is handed them.
#[derive(Debug)]
pub struct Generated<'a> {
    /// For each view of the metric: an entry per hook, or one of the embedding.
    pub features: Vec<&'a [Features]>,
    /// The caption of each picture; empty where no metric needs them and none are known.
    pub captions: &'a [String],
    /// What the captions stand for, one entry a picture.
    pub labels: &'a [Labels],
    /// The groups that the metric asked for; empty where they cannot be made, as for a folder of pictures.
    pub groups: &'a [Vec<Picture>],
    /// From how many random half-samples an interval is estimated; 0 for none.
    pub resamples: usize,
}

/// A metric with its networks.
pub trait Measurement {
    /// Takes what is known of the real pictures, for each view in turn; it serves all later measurements.
    ///
    /// # Errors
    /// When there is too little of it.
    fn set_reference(&mut self, _reference: &[Reference<'_>]) -> Result<(), PluginError> {
        Ok(())
    }

    /// Takes pictures that a codec has encoded and decoded, and what it made of them, in the same order: some of those that the next
    /// [`measure`](Self::measure) is about. Where pictures are made from captions, it is not called.
    fn compare(&mut self, _originals: &[Picture], _made: &[Picture]) {}

    /// The figures of generated pictures.
    ///
    /// # Errors
    /// When there are too few pictures.
    fn measure(&mut self, generated: &Generated<'_>) -> Result<Vec<MetricValue>, PluginError>;
}

/// One figure with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricValue {
    /// Full name, protocol included: `fd-mobilenet-17`, `fid-clean`.
    pub name: String,
    /// Which way it improves; `None` where neither side is better by itself.
    pub better: Option<Better>,
    /// The figure.
    pub value: f64,
    /// The interval that holds it with 95 % confidence, as far as the choice of generated pictures goes.
    pub interval: Option<(f64, f64)>,
    /// Number of generated pictures behind it.
    pub n: usize,
}

/// Which way a figure improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Smaller is better.
    Lower,
    /// Larger is better.
    Higher,
}
