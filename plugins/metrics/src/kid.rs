//! KID: the unbiased kernel distance on Inception's features, Binkowski et al. 2018.
//!
//! Over all pictures at once: the libraries' mean over random subsets has the same expectation and more noise.

use add_plugin::{
    Better, Entry, FeatureExtractor, FeatureNetwork, Knowledge, Measurement, Metric, Needs, Output, Plugin,
    PluginError, View, inventory,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    defaults::{check_name, inception},
    preparation::InceptionResize,
    sets::Sets,
};

/// `kid-torch`, `kid-tf1` (torch-fidelity) or `kid-clean` (clean-fid); smaller is better, and it may fall below 0.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kid {
    /// Inception with its weights.
    #[serde(default = "inception")]
    pub(crate) features: Plugin<dyn FeatureNetwork>,
    /// Whose way of resizing.
    #[serde(default)]
    pub(crate) resize: InceptionResize,
}

impl Metric for Kid {
    fn views(&self) -> Vec<View<'_>> {
        vec![View {
            network: &self.features,
            preparation: self.resize.preparation(),
            output: Output::Embedding,
        }]
    }

    fn needs(&self) -> Needs {
        Needs { reference: Knowledge::Features, pictures: 2, ..Needs::default() }
    }

    fn check(&self, networks: &[&dyn FeatureExtractor]) -> Result<(), PluginError> {
        check_name(networks[0], "inception")
    }

    fn init(
        &self,
        _networks: &[&dyn FeatureExtractor],
        _device: &Device,
    ) -> Result<Box<dyn Measurement>, PluginError> {
        let name = format!("kid-{}", self.resize.name());
        let compare = |reference: &_, generated: &_| add_eval::kid(generated, reference);
        Ok(Box::new(Sets::new(vec![name], Better::Lower, compare)))
    }
}

inventory::submit!(Entry::metric::<Kid>("Kid", "Binkowski et al. 2018; torch-fidelity, clean-fid"));
