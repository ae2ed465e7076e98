//! One convolution, with the caption's embedding and the timestep added to its channels. Replace it by your network, and
//! name its source.

use add_kernels::ConvGeometry;
use add_nn::layers::{Conv2d, Init, Linear};
use add_plugin::{
    Backbone, BackboneInfo, Conditioning, Denoiser, Entry, PluginError, Prediction, TextInfo, Timesteps,
    inventory, within,
};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

/// What the network is, how large, and which released models it can read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Skeleton {
    /// What it predicts.
    pub(crate) prediction: Prediction,
    /// Channels of its input and output: those of the codec's latents.
    pub(crate) channels: usize,
}

impl Default for Skeleton {
    fn default() -> Self {
        Self { prediction: Prediction::V, channels: 3 }
    }
}

/// Most channels: no slip of the keyboard may ask for the machine's whole memory.
const MAX_CHANNELS: usize = 4096;

impl Backbone for Skeleton {
    fn info(&self) -> BackboneInfo {
        BackboneInfo { channels: self.channels, prediction: self.prediction, multiple_of: 1 }
    }

    fn init(&self, text: TextInfo, seed: u64, device: &Device) -> Result<Box<dyn Denoiser>, PluginError> {
        within("channels", self.channels, 1..=MAX_CHANNELS)?;
        let init = Init::new(seed, device);
        let same = ConvGeometry::square(1, 1);
        Ok(Box::new(Network {
            conv: Conv2d::new(self.channels, self.channels, 3, same, &init.at("conv")),
            // The pooled caption and the timestep.
            condition: Linear::new(text.pooled + 1, self.channels, &init.at("condition")),
        }))
    }
}

inventory::submit!(Entry::backbone::<Skeleton>("Skeleton", "the paper, or the release that it reads"));

/// The network on a device; its parameters are named `conv.weight`, `condition.weight` and so on.
#[derive(Module, Debug)]
struct Network {
    conv: Conv2d,
    condition: Linear,
}

impl Denoiser for Network {
    fn predict(&self, x_t: Tensor<4>, t: &Timesteps, conditioning: &Conditioning) -> Tensor<4> {
        let [batch, channels, _, _] = x_t.dims();
        let time = t.to_tensor(&x_t.device(), x_t.dtype()).reshape([batch, 1]).div_scalar(1000.0);
        let condition = Tensor::cat(vec![conditioning.pooled.clone(), time], 1);
        let condition = self.condition.forward_rows(condition);
        self.conv.forward(x_t) + condition.reshape([batch, channels, 1, 1])
    }

    fn frozen(&self) -> Box<dyn Denoiser> {
        Box::new(self.valid())
    }
}

#[cfg(test)]
mod tests {
    use add_plugin::parameter_count;

    use super::*;

    const TEXT: TextInfo = TextInfo { tokens: 4, width: 6, pooled: 5 };

    fn conditioning(value: f64) -> Conditioning {
        let device = Device::flex();
        let tokens = Tensor::full([2, TEXT.tokens, TEXT.width], value, &device);
        Conditioning::new(tokens, Tensor::full([2, TEXT.pooled], value, &device))
    }

    #[test]
    fn the_prediction_has_the_shape_of_the_input_and_depends_on_the_caption() {
        let network = Skeleton::default().init(TEXT, 1, &Device::flex()).unwrap();
        // 3 x 3 kernels between 3 channels, a map from 6 numbers to 3, and a bias for each.
        assert_eq!(parameter_count(&*network), 81 + 3 + 18 + 3);
        let x = Tensor::<4>::ones([2, 3, 8, 8], &Device::flex());
        let t = Timesteps(vec![10.0, 999.0]);
        let [a, b] = [0.1, 0.9].map(|value| network.predict(x.clone(), &t, &conditioning(value)));
        assert_eq!(a.dims(), [2, 3, 8, 8]);
        assert!((a - b).abs().max().into_scalar::<f32>() > 1e-4);
    }
}
