//! FD-DINOv2: the Frechet distance on DINOv2's class token, Stein et al. 2023, as dgm-eval computes it.

use add_plugin::{
    Entry, FeatureExtractor, FeatureNetwork, Knowledge, Measurement, Metric, Needs, Output, Plugin,
    PluginError, View, inventory,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    defaults::{check_name, dino_v2_l14},
    gaussians::Gaussians,
    preparation::PIL,
    sets::names,
};

/// `fd-dinov2-l14`, or of another size of DINOv2; smaller is better.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FdDinoV2 {
    /// DINOv2 with its weights; dgm-eval's is L/14.
    #[serde(default = "dino_v2_l14")]
    pub(crate) features: Plugin<dyn FeatureNetwork>,
}

impl Metric for FdDinoV2 {
    fn views(&self) -> Vec<View<'_>> {
        vec![View { network: &self.features, preparation: PIL, output: Output::Embedding }]
    }

    fn needs(&self) -> Needs {
        Needs { reference: Knowledge::Statistics, pictures: 2, ..Needs::default() }
    }

    fn check(&self, networks: &[&dyn FeatureExtractor]) -> Result<(), PluginError> {
        check_name(networks[0], "dinov2")
    }

    fn init(
        &self,
        networks: &[&dyn FeatureExtractor],
        _device: &Device,
    ) -> Result<Box<dyn Measurement>, PluginError> {
        Ok(Box::new(Gaussians::new(names("fd", networks[0], Output::Embedding))))
    }
}

inventory::submit!(Entry::metric::<FdDinoV2>("FdDinoV2", "Stein et al. 2023, dgm-eval"));
