//! Density and coverage of distributions, Naeem et al. 2020: what an outlier cannot inflate.

use add_eval::neighbourhoods;
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

/// `density-<hook>` and `coverage-<hook>` for each hook of the network, or of its embedding; larger is better.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DensityCoverage {
    /// The network whose features are compared.
    pub(crate) features: Plugin<dyn FeatureNetwork>,
    /// How it looks at pictures.
    #[serde(default)]
    pub(crate) look: Look,
    /// A picture's neighbourhood reaches to its `neighbours`-th nearest.
    #[serde(default = "five")]
    pub(crate) neighbours: usize,
}

fn five() -> usize {
    5
}

impl Metric for DensityCoverage {
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
            let found = neighbourhoods(real, fake, k)?;
            Ok(vec![("density", found.of_fakes), ("coverage", found.of_reals)])
        };
        Ok(Box::new(Manifolds::new(suffixes, score, self.neighbours)))
    }
}

inventory::submit!(Entry::metric::<DensityCoverage>("DensityCoverage", "Naeem et al. 2020, on any network"));
