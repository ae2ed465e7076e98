//! Family `Metric`: what an evaluation measures on samples.

use crate::registry::Family;

/// A metric, as the recipe states it.
pub trait Metric: Family {
    /// Computes its values.
    fn evaluate(&self, inputs: &MetricInputs<'_>) -> Vec<MetricValue>;
}

/// One network's features of the samples and of the reference pictures, and a judge's verdicts.
#[derive(Debug, Clone, Copy)]
pub struct MetricInputs<'a> {
    /// Name of each feature layer with `(width, generated rows, reference rows)`, rows flattened.
    pub layers: &'a [FeatureRows],
}

/// Rows of one feature layer.
#[derive(Debug, Clone)]
pub struct FeatureRows {
    /// Name of the network and layer, such as `mobilenet-17`.
    pub name: String,
    /// Width of a row.
    pub width: usize,
    /// Rows of the generated pictures, flattened.
    pub generated: Vec<f32>,
    /// Rows of the reference pictures, flattened.
    pub reference: Vec<f32>,
}

/// One figure with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricValue {
    /// Full name, protocol included: `fd-mobilenet-17`.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// Number of generated pictures behind it.
    pub n: usize,
}
