//! The mean of all features of the generated pictures. Replace it by your metric, its unit and its source.

use add_plugin::{
    Better, Entry, FeatureExtractor, FeatureNetwork, Generated, Measurement, Metric, MetricValue, Output, Plugin,
    PluginError, View, inventory,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::preparation::AREA;

/// `skeleton-<network>`: what it measures, and which way is better.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Skeleton {
    /// The network that it looks through.
    pub(crate) features: Plugin<dyn FeatureNetwork>,
}

impl Metric for Skeleton {
    fn views(&self) -> Vec<View<'_>> {
        vec![View { network: &self.features, preparation: AREA, output: Output::Embedding }]
    }

    fn init(
        &self,
        networks: &[&dyn FeatureExtractor],
        _device: &Device,
    ) -> Result<Box<dyn Measurement>, PluginError> {
        Ok(Box::new(Mean { name: format!("skeleton-{}", networks[0].name()) }))
    }
}

inventory::submit!(Entry::metric::<Skeleton>("Skeleton", "the paper, or the library that it agrees with"));

/// The metric with the name of its figure.
struct Mean {
    name: String,
}

impl Measurement for Mean {
    fn measure(&mut self, generated: &Generated<'_>) -> Result<Vec<MetricValue>, PluginError> {
        let features = &generated.features[0][0];
        if features.is_empty() {
            return Err(PluginError::Mismatch(format!("{}: expected at least one picture, got none", self.name)));
        }
        let mut sum = 0.0;
        features.each_block(|values| {
            sum += values.iter().map(|&value| f64::from(value)).sum::<f64>();
            Ok::<_, PluginError>(())
        })?;
        Ok(vec![MetricValue {
            name: self.name.clone(),
            better: Some(Better::Lower),
            value: sum / (features.len() * features.width()) as f64,
            interval: None,
            n: features.len(),
        }])
    }
}

#[cfg(test)]
mod tests {
    use add_plugin::FeaturesWriter;

    use super::*;

    fn measure(values: &[f32]) -> Result<Vec<MetricValue>, PluginError> {
        let mut features = FeaturesWriter::default();
        features.push(2, values)?;
        let features = [features.rows()];
        let generated =
            Generated { features: vec![&features], captions: &[], labels: &[], groups: &[], resamples: 0 };
        Mean { name: "skeleton-toy".to_owned() }.measure(&generated)
    }

    #[test]
    fn the_figure_is_the_one_computed_by_hand() {
        let figures = measure(&[0.25, 0.5, 0.75, 0.5]).unwrap();
        assert!((figures[0].value - 0.5).abs() < 1e-12 && figures[0].n == 2, "{figures:?}");
    }

    #[test]
    fn no_picture_is_an_error() {
        assert!(measure(&[]).is_err());
    }
}
