//! Family `Metric`: what an evaluation measures on samples.

use burn::tensor::Device;

use crate::{Pixels, PluginError, registry::Family};

/// A metric, as the recipe states it.
pub trait Metric: Family {
    /// The metric on `device`, with the networks that it looks through.
    ///
    /// # Errors
    /// When their weights cannot be had.
    fn init(&self, device: &Device) -> Result<Box<dyn Measurement>, PluginError>;
}

/// What the data knows about one picture: `(labelling, label)`, such as `("style", "noto")`.
pub type Labels = Vec<(&'static str, String)>;

/// A metric that collects pictures and then gives its figures.
pub trait Measurement {
    /// Adds real pictures `[B, 3, S, S]`; they stay for every later [`finish`](Self::finish).
    fn add_reference(&mut self, pictures: &Pixels);

    /// Adds generated pictures `[B, 3, S, S]` and what their captions stand for, one entry each.
    fn add_generated(&mut self, pictures: &Pixels, labels: &[Labels]);

    /// The figures of the generated pictures, which are then forgotten.
    ///
    /// # Errors
    /// When too few pictures were added.
    fn finish(&mut self) -> Result<Vec<MetricValue>, PluginError>;
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
