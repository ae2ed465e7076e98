//! Caption accuracy: how often a classifier that no loss has seen reads the caption's labels off the picture.

use add_loss::resize;
use add_plugin::{
    Entry, FeatureExtractor, FeatureNetwork, Labels, Measurement, Metric, MetricValue, Pixels, Plugin, PluginError,
    inventory,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::rows::mean_over_tokens;

/// `accuracy-<labelling>` for each labelling that the judge decides; larger is better.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionAccuracy {
    /// The classifier.
    pub judge: Plugin<dyn FeatureNetwork>,
}

impl Metric for CaptionAccuracy {
    fn init(&self, device: &Device) -> Result<Box<dyn Measurement>, PluginError> {
        let judge = self.judge.init(device)?;
        let classes = judge.classes();
        if classes.is_empty() {
            let problem = format!("{} is no classifier; choose one that is", self.judge.name());
            return Err(PluginError::Field { field: "judge", problem });
        }
        let tallies = vec![Tally::default(); classes.len()];
        Ok(Box::new(Verdicts { judge, classes, tallies }))
    }
}

#[derive(Debug, Clone, Default)]
struct Tally {
    right: usize,
    asked: usize,
}

struct Verdicts {
    judge: Box<dyn FeatureExtractor>,
    classes: Vec<(&'static str, Vec<String>)>,
    tallies: Vec<Tally>,
}

impl Measurement for Verdicts {
    fn add_reference(&mut self, _pictures: &Pixels) {}

    fn add_generated(&mut self, pictures: &Pixels, labels: &[Labels]) {
        let logits = self.judge.features(Pixels(resize(pictures.0.clone(), [self.judge.input_size(); 2])));
        for ((logits, (labelling, classes)), tally) in logits.into_iter().zip(&self.classes).zip(&mut self.tallies) {
            let logits = mean_over_tokens(logits);
            for (row, labels) in logits.chunks(classes.len()).zip(labels) {
                // A label that the judge has never seen cannot be judged.
                let wanted = labels.iter().find(|(name, _)| name == labelling).map(|(_, label)| label);
                let Some(wanted) = wanted.and_then(|label| classes.iter().position(|class| class == label)) else {
                    continue;
                };
                let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
                tally.asked += 1;
                tally.right += usize::from(best == Some(wanted));
            }
        }
    }

    fn finish(&mut self) -> Result<Vec<MetricValue>, PluginError> {
        let mut values = Vec::new();
        for ((labelling, _), tally) in self.classes.iter().zip(&mut self.tallies) {
            let Tally { right, asked } = std::mem::take(tally);
            if asked > 0 {
                let value = right as f64 / asked as f64;
                values.push(MetricValue { name: format!("accuracy-{labelling}"), value, n: asked });
            }
        }
        Ok(values)
    }
}

inventory::submit!(Entry::metric::<CaptionAccuracy>("CaptionAccuracy", "a classifier outside of every loss"));
