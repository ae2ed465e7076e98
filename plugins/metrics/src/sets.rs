//! What the distances share: sets of features of real and of generated pictures, compared figure by figure.

use add_eval::{EvalError, FeatureSet, interval};
use add_plugin::{
    Better, FeatureExtractor, Features, Generated, Measurement, MetricValue, Output, PluginError, Reference,
};

/// A figure of two sets.
pub(crate) type Compare = fn(reference: &FeatureSet, generated: &FeatureSet) -> Result<f64, EvalError>;

/// A measurement of one figure per set of features.
pub(crate) struct Sets {
    /// One per set.
    names: Vec<String>,
    better: Better,
    compare: Compare,
    reference: Vec<FeatureSet>,
}

impl Sets {
    pub(crate) fn new(names: Vec<String>, better: Better, compare: Compare) -> Self {
        Self { names, better, compare, reference: Vec::new() }
    }
}

impl Measurement for Sets {
    fn set_reference(&mut self, reference: &[Reference<'_>]) -> Result<(), PluginError> {
        self.reference = reference_sets(&self.names[0], reference)?;
        Ok(())
    }

    fn measure(&mut self, generated: &Generated<'_>) -> Result<Vec<MetricValue>, PluginError> {
        let mut values = Vec::new();
        for ((name, reference), features) in self.names.iter().zip(&self.reference).zip(generated.features[0])
        {
            let set = set(features).map_err(failed(name))?;
            let value = (self.compare)(reference, &set).map_err(failed(name))?;
            let of_half = |half: &[usize]| (self.compare)(reference, &set.select(half));
            let interval = interval(value, set.rows(), generated.resamples, of_half).map_err(failed(name))?;
            let (name, better) = (name.clone(), Some(self.better));
            values.push(MetricValue { name, better, value, interval, n: set.rows() });
        }
        Ok(values)
    }
}

/// The names `<figure>-<hook>` of a network's sets of features, or `<figure>-<network>` of its embedding.
pub(crate) fn names(figure: &str, network: &dyn FeatureExtractor, output: Output) -> Vec<String> {
    match output {
        Output::Hooks => network.hooks().into_iter().map(|(hook, _)| format!("{figure}-{hook}")).collect(),
        Output::Embedding => vec![format!("{figure}-{}", network.name())],
    }
}

/// The features of the real pictures through the first view.
pub(crate) fn reference_sets(
    name: &str,
    reference: &[Reference<'_>],
) -> Result<Vec<FeatureSet>, PluginError> {
    match reference.first() {
        Some(Reference::Features(sets)) => sets.iter().map(|s| set(s).map_err(failed(name))).collect(),
        _ => Err(PluginError::Mismatch(format!(
            "{name}: expected the real pictures themselves, found their statistics; mean and covariance are enough for \
             Frechet distances alone"
        ))),
    }
}

/// Features in double precision.
pub(crate) fn set(features: &Features) -> Result<FeatureSet, EvalError> {
    FeatureSet::of_rows(features.clone())
}

/// An error with the figure that it is about.
pub(crate) fn failed(name: &str) -> impl Fn(EvalError) -> PluginError {
    move |error| PluginError::Mismatch(format!("{name}: {error}"))
}
