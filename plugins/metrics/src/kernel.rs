//! Kernel distance, the unbiased squared MMD with the kernel `(x . y / d + 1)^3`, Binkowski et al. 2018.

use add_eval::kid;
use add_plugin::{
    Better, Entry, FeatureExtractor, FeatureNetwork, Knowledge, Measurement, Metric, Needs, Output, Plugin,
    PluginError, View, inventory,
};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    preparation::AREA,
    sets::{Sets, names},
};

/// `kd-<hook>` for each hook of the network; smaller is better. It is KID on Inception's features alone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernel {
    /// The network whose spatially averaged features are compared.
    pub(crate) features: Plugin<dyn FeatureNetwork>,
}

impl Metric for Kernel {
    fn views(&self) -> Vec<View<'_>> {
        vec![View { network: &self.features, preparation: AREA, output: Output::Hooks }]
    }

    fn needs(&self) -> Needs {
        Needs { reference: Knowledge::Features, pictures: 2, ..Needs::default() }
    }

    fn init(
        &self,
        networks: &[&dyn FeatureExtractor],
        _device: &Device,
    ) -> Result<Box<dyn Measurement>, PluginError> {
        let names = names("kd", networks[0], Output::Hooks);
        Ok(Box::new(Sets::new(names, Better::Lower, |reference, generated| kid(generated, reference))))
    }
}

inventory::submit!(Entry::metric::<Kernel>("Kernel", "Binkowski et al. 2018, on any network"));
