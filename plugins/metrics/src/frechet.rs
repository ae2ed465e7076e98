//! Frechet distance of Gaussians fitted to the hooks of any network, Heusel et al. 2017.
//!
//! Its name is `fd-` and the hook's name; FID is [`Fid`](crate::fid) alone, since the figures of two networks, or of two ways
//! of resizing, cannot be compared.

use add_plugin::{
    Entry, FeatureExtractor, FeatureNetwork, Knowledge, Measurement, Metric, Needs, Output, Plugin,
    PluginError, View, inventory,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{gaussians::Gaussians, preparation::AREA, sets::names};

/// `fd-<hook>` for each hook of the network; smaller is better.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Frechet {
    /// The network whose spatially averaged features are compared.
    pub(crate) features: Plugin<dyn FeatureNetwork>,
}

impl Metric for Frechet {
    fn views(&self) -> Vec<View<'_>> {
        vec![View { network: &self.features, preparation: AREA, output: Output::Hooks }]
    }

    fn needs(&self) -> Needs {
        Needs { reference: Knowledge::Statistics, pictures: 2, ..Needs::default() }
    }

    fn init(
        &self,
        networks: &[&dyn FeatureExtractor],
        _device: &Device,
    ) -> Result<Box<dyn Measurement>, PluginError> {
        Ok(Box::new(Gaussians::new(names("fd", networks[0], Output::Hooks))))
    }
}

inventory::submit!(Entry::metric::<Frechet>("Frechet", "Heusel et al. 2017, on any network"));
