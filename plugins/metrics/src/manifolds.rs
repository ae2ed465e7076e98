//! What precision, recall, density and coverage share: shares of pictures, each with its interval.

use add_eval::{EvalError, FeatureSet, mean_with_interval};
use add_plugin::{Better, Generated, Knowledge, Measurement, MetricValue, Needs, PluginError, Reference};

use crate::sets::{failed, reference_sets, set};

/// A figure's name, and the scores whose mean it is.
pub(crate) type Scores = Vec<(&'static str, Vec<f64>)>;

/// The scores of the pictures of two sets, with `k` neighbours.
pub(crate) type Score = fn(real: &FeatureSet, fake: &FeatureSet, k: usize) -> Result<Scores, EvalError>;

/// What such a metric needs: with a picture left for the last of its neighbours.
pub(crate) fn needs(neighbours: usize) -> Needs {
    Needs { reference: Knowledge::Features, pictures: neighbours.saturating_add(1), ..Needs::default() }
}

/// A measurement of shares, per set of features.
pub(crate) struct Manifolds {
    /// What stands behind a figure's name, one per set.
    suffixes: Vec<String>,
    score: Score,
    neighbours: usize,
    reference: Vec<FeatureSet>,
}

impl Manifolds {
    pub(crate) fn new(suffixes: Vec<String>, score: Score, neighbours: usize) -> Self {
        Self { suffixes, score, neighbours, reference: Vec::new() }
    }
}

impl Measurement for Manifolds {
    fn set_reference(&mut self, reference: &[Reference<'_>]) -> Result<(), PluginError> {
        self.reference = reference_sets("precision, recall, density and coverage", reference)?;
        Ok(())
    }

    fn measure(&mut self, generated: &Generated<'_>) -> Result<Vec<MetricValue>, PluginError> {
        let mut values = Vec::new();
        for ((suffix, real), features) in self.suffixes.iter().zip(&self.reference).zip(generated.features[0])
        {
            let fake = set(features).map_err(failed(suffix))?;
            for (figure, scores) in (self.score)(real, &fake, self.neighbours).map_err(failed(suffix))? {
                let (value, interval) =
                    mean_with_interval(&scores, generated.resamples).map_err(failed(suffix))?;
                let (name, better) = (format!("{figure}-{suffix}"), Some(Better::Higher));
                values.push(MetricValue { name, better, value, interval, n: fake.rows() });
            }
        }
        Ok(values)
    }
}
