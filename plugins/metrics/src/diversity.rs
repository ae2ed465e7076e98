//! Diversity over noise: how pictures of one caption differ. Karras et al. 2018, the batch standard deviation.
//!
//! A model that ignores its noise can have a fine Frechet distance; this figure shows it.

use add_eval::{FeatureSet, mean_with_interval, pixel_std};
use add_plugin::{
    Entry, FeatureExtractor, Generated, Groups, Measurement, Metric, MetricValue, Needs, Picture,
    PluginError, inventory, within,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::sets::failed;

/// `diversity`: the pixel standard deviation over pictures of one caption, values in `[-1, 1]`, averaged over captions.
/// Neither side is better: the target is the teacher's value, and noise would be the most diverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Diversity {
    /// Number of captions.
    pub(crate) captions: usize,
    /// Pictures of each.
    pub(crate) pictures: usize,
}

impl Default for Diversity {
    fn default() -> Self {
        Self { captions: 8, pictures: 16 }
    }
}

/// Most captions, and most pictures of each.
const MOST: usize = 1024;

impl Metric for Diversity {
    fn needs(&self) -> Needs {
        let Self { captions, pictures } = *self;
        Needs { groups: Some(Groups { captions, pictures }), ..Needs::default() }
    }

    fn init(
        &self,
        _networks: &[&dyn FeatureExtractor],
        _device: &Device,
    ) -> Result<Box<dyn Measurement>, PluginError> {
        within("captions", self.captions, 1..=MOST)?;
        within("pictures", self.pictures, 2..=MOST)?;
        Ok(Box::new(Spread))
    }
}

inventory::submit!(Entry::metric::<Diversity>("Diversity", "Karras et al. 2018, over noise"));

struct Spread;

impl Measurement for Spread {
    fn measure(&mut self, generated: &Generated<'_>) -> Result<Vec<MetricValue>, PluginError> {
        // A folder of pictures has no groups: its diversity cannot be told from what its captions ask for.
        if generated.groups.is_empty() {
            return Ok(Vec::new());
        }
        let failed = failed("diversity");
        let mut scores = Vec::new();
        for group in generated.groups {
            let values = group.iter().flat_map(Picture::rgb).map(|&v| f64::from(v) / 127.5 - 1.0);
            let values: Vec<f64> = values.collect();
            let set = FeatureSet::new(values.len() / group.len().max(1), values).map_err(&failed)?;
            scores.push(pixel_std(&set).map_err(&failed)?);
        }
        let (value, interval) = mean_with_interval(&scores, generated.resamples).map_err(&failed)?;
        let n = generated.groups.iter().map(Vec::len).sum();
        Ok(vec![MetricValue { name: "diversity".to_owned(), better: None, value, interval, n }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pictures_give_the_deviation_by_hand() {
        let flat = |value: u8| Picture::new(1, 1, vec![value; 3]);
        let groups = [vec![flat(0), flat(255)], vec![flat(7), flat(7)]];
        let generated =
            Generated { features: Vec::new(), captions: &[], labels: &[], groups: &groups, resamples: 0 };
        let values = Spread.measure(&generated).expect("two pictures each");
        // -1 and 1 deviate by sqrt(2), equal pictures by 0.
        assert!((values[0].value - 2f64.sqrt() / 2.0).abs() < 1e-12 && values[0].n == 4);
        let none = Generated { groups: &[], ..generated };
        assert!(Spread.measure(&none).expect("no figure").is_empty());
    }
}
