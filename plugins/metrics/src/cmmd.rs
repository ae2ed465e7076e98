//! CMMD, Jayasumana et al. 2024: the mathematics is in [`add_eval::cmmd`].

use add_plugin::{
    Better, Entry, FeatureExtractor, FeatureNetwork, Knowledge, Measurement, Metric, Needs, Output, Plugin,
    PluginError, View, inventory,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    defaults::{check_name, clip_l14_336},
    preparation::PIL_SQUARE,
    sets::{Sets, names},
};

/// `cmmd-clip-l14-336`, or of another image tower of CLIP; smaller is better.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cmmd {
    /// The image tower; the paper's is OpenAI's ViT-L/14 at 336 pixels.
    #[serde(default = "clip_l14_336")]
    pub(crate) features: Plugin<dyn FeatureNetwork>,
}

impl Metric for Cmmd {
    fn views(&self) -> Vec<View<'_>> {
        vec![View { network: &self.features, preparation: PIL_SQUARE, output: Output::Embedding }]
    }

    fn needs(&self) -> Needs {
        Needs { reference: Knowledge::Features, ..Needs::default() }
    }

    fn check(&self, networks: &[&dyn FeatureExtractor]) -> Result<(), PluginError> {
        check_name(networks[0], "clip")
    }

    fn init(
        &self,
        networks: &[&dyn FeatureExtractor],
        _device: &Device,
    ) -> Result<Box<dyn Measurement>, PluginError> {
        let names = names("cmmd", networks[0], Output::Embedding);
        Ok(Box::new(Sets::new(names, Better::Lower, add_eval::cmmd)))
    }
}

inventory::submit!(Entry::metric::<Cmmd>("Cmmd", "Jayasumana et al. 2024"));
