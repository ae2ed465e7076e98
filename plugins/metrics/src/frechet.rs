//! Frechet distance of Gaussians fitted to features, Heusel et al. 2017: `|mu - mu'|^2 + tr(S + S' - 2 (S S')^(1/2))`.
//!
//! Its name is `fd-` and the hook's name; it is FID on FID's own network alone.

use add_eval::frechet_distance_of_sets;
use add_plugin::{Entry, FeatureNetwork, Measurement, Metric, Plugin, PluginError, inventory};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::rows::Rows;

/// `fd-<hook>` for each hook of the network; smaller is better.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Frechet {
    /// The network whose spatially averaged features are compared.
    pub(crate) features: Plugin<dyn FeatureNetwork>,
}

impl Metric for Frechet {
    fn init(&self, device: &Device) -> Result<Box<dyn Measurement>, PluginError> {
        let compare = |hook: &crate::rows::Hook, _| {
            let distance = frechet_distance_of_sets(&hook.generated, &hook.reference)?;
            Ok(vec![(format!("fd-{}", hook.name), distance)])
        };
        Ok(Box::new(Rows::new(&self.features, device, compare, 0)?))
    }
}

inventory::submit!(Entry::metric::<Frechet>("Frechet", "Heusel et al. 2017, on any network"));
