//! The one adapter from a `UNet2dCondition` to a [`Denoiser`].

use add_nn::{
    layers::Init,
    unet::{AddedConditions, AdditionEmbedType, ClassEmbedType, UNet2dCondition, UnetConfig},
};
use add_plugin::{Conditioning, Denoiser, PluginError, TextInfo, Timesteps};
use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};

/// A U-Net that conditions itself on what its configuration asks for.
#[derive(Module, Debug)]
pub(crate) struct UnetDenoiser {
    unet: UNet2dCondition,
    #[module(skip)]
    added: Added,
}

/// What joins the timestep embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Added {
    Nothing,
    Pooled,
    TextTime,
}

impl UnetDenoiser {
    pub(crate) fn new(config: &UnetConfig, seed: u64, device: &Device) -> Result<Self, PluginError> {
        let unet = UNet2dCondition::new(config, &Init::new(seed, device));
        let unet = unet.map_err(|e| PluginError::Mismatch(format!("the U-Net's configuration: {e}")))?;
        let added = match (config.class_embed_type, config.addition_embed_type) {
            (Some(ClassEmbedType::Projection), _) => Added::Pooled,
            (None, Some(AdditionEmbedType::TextTime)) => Added::TextTime,
            (None, None) => Added::Nothing,
        };
        Ok(Self { unet, added })
    }
}

impl Denoiser for UnetDenoiser {
    fn predict(&self, x_t: Tensor<4>, t: &Timesteps, conditioning: &Conditioning) -> Tensor<4> {
        let time = t.to_tensor(&x_t.device(), x_t.dtype());
        let pooled = || conditioning.pooled.clone();
        let added = match self.added {
            Added::Nothing => None,
            Added::Pooled => Some(AddedConditions::Pooled(pooled())),
            Added::TextTime => {
                Some(AddedConditions::TextTime { text_embeds: pooled(), time_ids: time_ids(&x_t) })
            }
        };
        self.unet.forward(x_t, time, conditioning.tokens.clone(), added)
    }

    fn frozen(&self) -> Box<dyn Denoiser> {
        Box::new(self.valid())
    }
}

/// SDXL's six numbers for an uncropped picture of the size that is being made:
/// original height and width, crop top and left, target height and width, in pixels.
fn time_ids(latents: &Tensor<4>) -> Tensor<2> {
    let [batch, _, h, w] = latents.dims();
    let [h, w] = [h, w].map(|side| (side * 8) as f64);
    let row = [h, w, 0.0, 0.0, h, w];
    let data = TensorData::new(row.repeat(batch), [batch, 6]);
    Tensor::from_data(data, (&latents.device(), latents.dtype()))
}

/// Refuses a text encoder whose token states have another width than the U-Net attends to.
pub(crate) fn check_width(name: &str, expected: usize, text: TextInfo) -> Result<(), PluginError> {
    if text.width == expected {
        return Ok(());
    }
    let found = text.width;
    Err(PluginError::Mismatch(format!(
        "the backbone {name} attends to token states of width {expected}, the text encoder gives {found}"
    )))
}
