//! Precision and recall of distributions, Kynkaanniemi et al. 2019.

use add_eval::on_manifold;
use add_plugin::{
    Entry, FeatureExtractor, FeatureNetwork, Measurement, Metric, Needs, Plugin, PluginError, View,
    inventory, within,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    look::Look,
    manifolds::{self, Manifolds},
};

/// `precision-<hook>` and `recall-<hook>` for each hook of the network, or of its embedding; larger is better.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrecisionRecall {
    /// The network whose features are compared.
    pub(crate) features: Plugin<dyn FeatureNetwork>,
    /// How it looks at pictures.
    #[serde(default)]
    pub(crate) look: Look,
    /// A picture's neighbourhood reaches to its `neighbours`-th nearest.
    #[serde(default = "three")]
    pub(crate) neighbours: usize,
}

fn three() -> usize {
    3
}

impl Metric for PrecisionRecall {
    fn views(&self) -> Vec<View<'_>> {
        vec![self.look.view(&self.features)]
    }

    fn needs(&self) -> Needs {
        manifolds::needs(self.neighbours)
    }

    fn init(
        &self,
        networks: &[&dyn FeatureExtractor],
        _device: &Device,
    ) -> Result<Box<dyn Measurement>, PluginError> {
        within("neighbours", self.neighbours, 1..=usize::MAX)?;
        let suffixes = self.look.suffixes(networks[0]);
        let score: manifolds::Score = |real, fake, k| {
            Ok(vec![("precision", on_manifold(fake, real, k)?), ("recall", on_manifold(real, fake, k)?)])
        };
        Ok(Box::new(Manifolds::new(suffixes, score, self.neighbours)))
    }
}

inventory::submit!(Entry::metric::<PrecisionRecall>(
    "PrecisionRecall",
    "Kynkaanniemi et al. 2019, on any network"
));
