//! Caption accuracy: how often a classifier that no loss has seen reads the caption's labels off the picture.

use add_loss::resize;
use add_plugin::{
    Entry, FeatureExtractor, FeatureNetwork, Labels, Measurement, Metric, MetricValue, Pixels, Plugin,
    PluginError, inventory,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::rows::mean_over_tokens;

/// `accuracy-<labelling>` for each labelling that the judge decides, and `accuracy-all` for pictures on which all
/// their labels are read right; larger is better.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaptionAccuracy {
    /// The classifier.
    pub(crate) judge: Plugin<dyn FeatureNetwork>,
}

impl Metric for CaptionAccuracy {
    fn init(&self, device: &Device) -> Result<Box<dyn Measurement>, PluginError> {
        let judge = self.judge.init(device)?;
        let classes = judge.classes();
        if classes.is_empty() {
            let problem = format!("{} is no classifier; choose one that is", self.judge.name());
            return Err(PluginError::Field { field: "judge", problem });
        }
        let tallies = vec![Tally::default(); classes.len() + 1];
        Ok(Box::new(Verdicts { judge, classes, tallies }))
    }
}

#[derive(Debug, Clone, Default)]
struct Tally {
    right: usize,
    asked: usize,
}

impl Tally {
    fn count(&mut self, right: bool) {
        self.asked += 1;
        self.right += usize::from(right);
    }
}

struct Verdicts {
    judge: Box<dyn FeatureExtractor>,
    classes: Vec<(&'static str, Vec<String>)>,
    /// One per labelling, and one for all of a picture's labels together.
    tallies: Vec<Tally>,
}

impl Measurement for Verdicts {
    fn add_reference(&mut self, _pictures: &Pixels) {}

    fn add_generated(&mut self, pictures: &Pixels, labels: &[Labels]) {
        let side = self.judge.input_size();
        let logits = self.judge.features(Pixels(resize(pictures.0.clone(), [side; 2])));
        let logits: Vec<Vec<f32>> = logits.into_iter().map(mean_over_tokens).collect();
        for (picture, labels) in labels.iter().enumerate() {
            let mut all = None;
            for (which, (labelling, classes)) in self.classes.iter().enumerate() {
                // A label that the judge has never seen cannot be judged.
                let wanted = labels.iter().find(|(name, _)| name == labelling).map(|(_, label)| label);
                let Some(wanted) = wanted.and_then(|label| classes.iter().position(|class| class == label))
                else {
                    continue;
                };
                let row = &logits[which][picture * classes.len()..][..classes.len()];
                let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
                let right = best == Some(wanted);
                self.tallies[which].count(right);
                all = Some(all.unwrap_or(true) && right);
            }
            if let (Some(all), Some(tally)) = (all, self.tallies.last_mut()) {
                tally.count(all);
            }
        }
    }

    fn finish(&mut self) -> Result<Vec<MetricValue>, PluginError> {
        let names = self.classes.iter().map(|(labelling, _)| *labelling).chain(["all"]);
        let mut values = Vec::new();
        for (name, tally) in names.zip(&mut self.tallies) {
            let Tally { right, asked } = std::mem::take(tally);
            if asked > 0 {
                let value = right as f64 / asked as f64;
                values.push(MetricValue { name: format!("accuracy-{name}"), value, n: asked });
            }
        }
        Ok(values)
    }
}

inventory::submit!(Entry::metric::<CaptionAccuracy>("CaptionAccuracy", "a classifier outside of every loss"));
