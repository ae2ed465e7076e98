//! What the Frechet distances share: Gaussians fitted to features, `|mu - mu'|^2 + tr(S + S' - 2 (S S')^(1/2))`.

use add_eval::{EvalError, FeatureSet, Gaussian, interval};
use add_plugin::{Better, Generated, Measurement, MetricValue, PluginError, Reference};
use tracing::warn;

use crate::sets::{failed, set};

/// Fewer pictures than this leave the covariance of Inception's 2,048 features without full rank; a warning is given.
const FEW: usize = 2048;

/// A measurement of one Frechet distance per set of features.
pub(crate) struct Gaussians {
    names: Vec<String>,
    reference: Vec<Gaussian>,
}

impl Gaussians {
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self { names, reference: Vec::new() }
    }
}

impl Measurement for Gaussians {
    fn set_reference(&mut self, reference: &[Reference<'_>]) -> Result<(), PluginError> {
        let failed = failed(&self.names[0]);
        self.reference = match reference {
            [Reference::Features(sets), ..] => {
                warn_of_few(&self.names[0], "real", sets[0].len(), sets[0].width());
                sets.iter().map(|features| Gaussian::of_set(&set(features)?)).collect()
            }
            [Reference::Statistics(all), ..] => {
                all.iter().map(|s| Gaussian::of_statistics(s.mean.clone(), &s.covariance)).collect()
            }
            [] => Ok(Vec::new()),
        }
        .map_err(failed)?;
        Ok(())
    }

    fn measure(&mut self, generated: &Generated<'_>) -> Result<Vec<MetricValue>, PluginError> {
        let mut values = Vec::new();
        for ((name, reference), features) in self.names.iter().zip(&self.reference).zip(generated.features[0])
        {
            warn_of_few(name, "generated", features.len(), features.width());
            let set = set(features).map_err(failed(name))?;
            let distance =
                |set: &FeatureSet| -> Result<f64, EvalError> { Gaussian::of_set(set)?.distance(reference) };
            let value = distance(&set).map_err(failed(name))?;
            let of_half = |half: &[usize]| distance(&set.select(half));
            let interval = interval(value, set.rows(), generated.resamples, of_half).map_err(failed(name))?;
            let (name, better) = (name.clone(), Some(Better::Lower));
            values.push(MetricValue { name, better, value, interval, n: set.rows() });
        }
        Ok(values)
    }
}

fn warn_of_few(name: &str, kind: &str, n: usize, width: usize) {
    if n < FEW && width >= FEW {
        warn!(
            "{name}: {n} {kind} pictures, fewer than {FEW}: the distance is biased upwards and not comparable with published \
             ones"
        );
    }
}
