//! Caption accuracy: how often a classifier that no loss has seen reads the caption's labels off the picture.

use add_eval::mean_with_interval;
use add_plugin::{
    Better, Entry, FeatureExtractor, FeatureNetwork, Generated, Measurement, Metric, MetricValue, Output,
    Plugin, PluginError, View, inventory,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{preparation::AREA, sets::failed};

/// `accuracy-<labelling>` for each labelling that the judge decides, and `accuracy-all` for pictures on which all
/// their labels are read right; larger is better.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaptionAccuracy {
    /// The classifier.
    pub(crate) judge: Plugin<dyn FeatureNetwork>,
}

impl Metric for CaptionAccuracy {
    fn views(&self) -> Vec<View<'_>> {
        vec![View { network: &self.judge, preparation: AREA, output: Output::Hooks }]
    }

    fn check(&self, networks: &[&dyn FeatureExtractor]) -> Result<(), PluginError> {
        if networks[0].classes().is_empty() {
            let problem = format!("{} is not a classifier; choose one that is", self.judge.name());
            return Err(PluginError::Field { field: "judge", problem });
        }
        Ok(())
    }

    fn init(
        &self,
        networks: &[&dyn FeatureExtractor],
        _device: &Device,
    ) -> Result<Box<dyn Measurement>, PluginError> {
        Ok(Box::new(Verdicts { classes: networks[0].classes() }))
    }
}

/// The classes of each labelling.
struct Verdicts {
    classes: Vec<(&'static str, Vec<String>)>,
}

impl Measurement for Verdicts {
    fn measure(&mut self, generated: &Generated<'_>) -> Result<Vec<MetricValue>, PluginError> {
        // For each labelling, and at the end for all together: 1 for each picture that was read right, else 0.
        let mut right: Vec<Vec<f64>> = vec![Vec::new(); self.classes.len() + 1];
        for (picture, labels) in generated.labels.iter().enumerate() {
            let mut all = None;
            for (which, (labelling, classes)) in self.classes.iter().enumerate() {
                // A label that the judge has never seen cannot be judged.
                let wanted = labels.iter().find(|(name, _)| name == labelling).map(|(_, label)| label);
                let Some(wanted) = wanted.and_then(|label| classes.iter().position(|class| class == label))
                else {
                    continue;
                };
                let row = generated.features[0][which].read(picture, 1)?;
                let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
                let is_right = best == Some(wanted);
                right[which].push(f64::from(u8::from(is_right)));
                all = Some(all.unwrap_or(true) && is_right);
            }
            right[self.classes.len()].extend(all.map(|all| f64::from(u8::from(all))));
        }
        let names = self.classes.iter().map(|(labelling, _)| *labelling).chain(["all"]);
        let mut values = Vec::new();
        for (name, scores) in names.zip(right).filter(|(_, scores)| !scores.is_empty()) {
            let (value, interval) =
                mean_with_interval(&scores, generated.resamples).map_err(failed("caption accuracy"))?;
            let (name, better) = (format!("accuracy-{name}"), Some(Better::Higher));
            values.push(MetricValue { name, better, value, interval, n: scores.len() });
        }
        Ok(values)
    }
}

inventory::submit!(Entry::metric::<CaptionAccuracy>("CaptionAccuracy", "a classifier outside of every loss"));
