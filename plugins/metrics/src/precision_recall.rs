//! Precision and recall of distributions, Kynkaanniemi et al. 2019.

use add_eval::precision_recall;
use add_plugin::{Entry, FeatureNetwork, Measurement, Metric, Plugin, PluginError, inventory};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::rows::Rows;

/// `precision-<hook>` and `recall-<hook>` for each hook of the network; larger is better.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrecisionRecall {
    /// The network whose spatially averaged features are compared.
    pub(crate) features: Plugin<dyn FeatureNetwork>,
    /// A picture's neighbourhood reaches to its `neighbours`-th nearest.
    #[serde(default = "three")]
    pub(crate) neighbours: usize,
}

fn three() -> usize {
    3
}

impl Metric for PrecisionRecall {
    fn init(&self, device: &Device) -> Result<Box<dyn Measurement>, PluginError> {
        let compare = |hook: &crate::rows::Hook, k| {
            let both = precision_recall(&hook.reference, &hook.generated, k)?;
            let name = |figure| format!("{figure}-{}", hook.name);
            Ok(vec![(name("precision"), both.precision), (name("recall"), both.recall)])
        };
        Ok(Box::new(Rows::new(&self.features, device, compare, self.neighbours)?))
    }
}

inventory::submit!(Entry::metric::<PrecisionRecall>(
    "PrecisionRecall",
    "Kynkaanniemi et al. 2019, on any network"
));
