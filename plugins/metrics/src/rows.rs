//! What the distances share: pictures through a feature network to one row of numbers per picture and hook.

use add_eval::{EvalError, FeatureSet};
use add_loss::resize;
use add_plugin::{FeatureExtractor, FeatureNetwork, Measurement, MetricValue, Pixels, Plugin, PluginError};
use burn::tensor::{Device, Tensor};

/// Reference and generated rows of one hook.
pub(crate) struct Hook {
    pub(crate) name: String,
    pub(crate) reference: FeatureSet,
    pub(crate) generated: FeatureSet,
}

/// Figures of one hook's two sets of rows.
pub(crate) type Compare = fn(&Hook, k: usize) -> Result<Vec<(String, f64)>, EvalError>;

/// A measurement that compares rows, hook by hook.
pub(crate) struct Rows {
    extractor: Box<dyn FeatureExtractor>,
    hooks: Vec<Hook>,
    compare: Compare,
    neighbours: usize,
}

impl Rows {
    pub(crate) fn new(
        features: &Plugin<dyn FeatureNetwork>,
        device: &Device,
        compare: Compare,
        neighbours: usize,
    ) -> Result<Self, PluginError> {
        let extractor = features.init(device)?;
        let hook = |(name, width): (String, usize)| {
            let empty = || FeatureSet::new(width, Vec::new()).map_err(failed);
            Ok::<_, PluginError>(Hook { name, reference: empty()?, generated: empty()? })
        };
        let hooks = extractor.hooks().into_iter().map(hook).collect::<Result<_, _>>()?;
        Ok(Self { extractor, hooks, compare, neighbours })
    }

    /// One row per picture and hook: the mean over the hook's positions.
    fn rows(&self, pictures: &Pixels) -> Vec<Vec<f32>> {
        let resized = resize(pictures.0.clone(), [self.extractor.input_size(); 2]);
        let features = self.extractor.features(Pixels(resized));
        features.into_iter().map(mean_over_tokens).collect()
    }
}

/// `[B, C, N]` to `B` rows of `C` values.
pub(crate) fn mean_over_tokens(features: Tensor<3>) -> Vec<f32> {
    features.mean_dim(2).into_data().iter::<f32>().collect()
}

impl Measurement for Rows {
    fn add_reference(&mut self, pictures: &Pixels) {
        for (rows, hook) in self.rows(pictures).iter().zip(&mut self.hooks) {
            hook.reference.extend_f32(rows).expect("rows have the hook's width");
        }
    }

    fn add_generated(&mut self, pictures: &Pixels, _labels: &[add_plugin::Labels]) {
        for (rows, hook) in self.rows(pictures).iter().zip(&mut self.hooks) {
            hook.generated.extend_f32(rows).expect("rows have the hook's width");
        }
    }

    fn finish(&mut self) -> Result<Vec<MetricValue>, PluginError> {
        let mut values = Vec::new();
        for hook in &mut self.hooks {
            let n = hook.generated.rows();
            let figures = (self.compare)(hook, self.neighbours).map_err(failed)?;
            values.extend(figures.into_iter().map(|(name, value)| MetricValue { name, value, n }));
            hook.generated = FeatureSet::new(hook.generated.dim(), Vec::new()).map_err(failed)?;
        }
        Ok(values)
    }
}

pub(crate) fn failed(error: EvalError) -> PluginError {
    PluginError::Mismatch(error.to_string())
}
