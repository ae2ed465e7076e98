//! Kernel distance, the unbiased squared MMD with the kernel `(x . y / d + 1)^3`, Binkowski et al. 2018.

use add_eval::kid;
use add_plugin::{Entry, FeatureNetwork, Measurement, Metric, Plugin, PluginError, inventory};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::rows::Rows;

/// `kd-<hook>` for each hook of the network; smaller is better. It is KID on Inception's features alone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernel {
    /// The network whose spatially averaged features are compared.
    pub(crate) features: Plugin<dyn FeatureNetwork>,
}

impl Metric for Kernel {
    fn init(&self, device: &Device) -> Result<Box<dyn Measurement>, PluginError> {
        let compare = |hook: &crate::rows::Hook, _| {
            Ok(vec![(format!("kd-{}", hook.name), kid(&hook.generated, &hook.reference)?)])
        };
        Ok(Box::new(Rows::new(&self.features, device, compare, 0)?))
    }
}

inventory::submit!(Entry::metric::<Kernel>("Kernel", "Binkowski et al. 2018, on any network"));
