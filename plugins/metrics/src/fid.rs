//! FID: the Frechet distance on Inception's features, Heusel et al. 2017.

use add_plugin::{
    Entry, FeatureExtractor, FeatureNetwork, Knowledge, Measurement, Metric, Needs, Output, Plugin,
    PluginError, View, inventory,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    defaults::{check_name, inception},
    gaussians::Gaussians,
    preparation::InceptionResize,
};

/// `fid-torch` (pytorch-fid), `fid-tf1` (torch-fidelity) or `fid-clean` (clean-fid); smaller is better.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fid {
    /// Inception with its weights.
    #[serde(default = "inception")]
    pub(crate) features: Plugin<dyn FeatureNetwork>,
    /// Whose way of resizing.
    #[serde(default)]
    pub(crate) resize: InceptionResize,
}

impl Metric for Fid {
    fn views(&self) -> Vec<View<'_>> {
        vec![View {
            network: &self.features,
            preparation: self.resize.preparation(),
            output: Output::Embedding,
        }]
    }

    fn needs(&self) -> Needs {
        Needs { reference: Knowledge::Statistics, pictures: 2, ..Needs::default() }
    }

    fn check(&self, networks: &[&dyn FeatureExtractor]) -> Result<(), PluginError> {
        check_name(networks[0], "inception")
    }

    fn init(
        &self,
        _networks: &[&dyn FeatureExtractor],
        _device: &Device,
    ) -> Result<Box<dyn Measurement>, PluginError> {
        Ok(Box::new(Gaussians::new(vec![format!("fid-{}", self.resize.name())])))
    }
}

inventory::submit!(Entry::metric::<Fid>("Fid", "Heusel et al. 2017; pytorch-fid, torch-fidelity, clean-fid"));
