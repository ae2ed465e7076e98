//! The one adapter from a `UNet2dCondition` to a [`Denoiser`].

use std::path::Path;

use add_kernels::wide_type;
use add_nn::{
    layers::{Checkpointing, Init},
    unet::{AddedConditions, AdditionEmbedType, ClassEmbedType, UNet2dCondition, UnetConfig},
};
use add_plugin::{
    Component, Conditioning, Content, Denoiser, LoraConfig, Naming, PluginError, TextInfo, Timesteps, fields,
};
use add_weights::{WeightsError, WeightsFile, names::found};
use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use serde_json::json;

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
    /// At the place and with the adapters of `init`.
    pub(crate) fn new(config: &UnetConfig, init: &Init) -> Result<Self, PluginError> {
        let unet = UNet2dCondition::new(config, init);
        let unet = unet.map_err(|e| PluginError::Mismatch(format!("the U-Net's configuration: {e}")))?;
        let added = match (config.class_embed_type, config.addition_embed_type) {
            (Some(ClassEmbedType::Projection), _) => Added::Pooled,
            (None, Some(AdditionEmbedType::TextTime)) => Added::TextTime,
            (None, None) => Added::Nothing,
        };
        Ok(Self { unet, added })
    }

    /// As [`UNet2dCondition::with_checkpointing`].
    pub(crate) fn with_checkpointing(self, checkpointing: Checkpointing) -> Self {
        Self { unet: self.unet.with_checkpointing(checkpointing), ..self }
    }

    /// What diffusers calls it.
    pub(crate) fn component(config: &UnetConfig) -> Component {
        Component {
            folder: "unet",
            library: "diffusers",
            class: "UNet2DConditionModel",
            content: Content::Network { config: fields(json!(config)), prefix: "unet." },
        }
    }

    /// With the values of a released file.
    pub(crate) fn load(self, config: &UnetConfig, naming: Naming, file: &Path) -> Result<Self, PluginError> {
        let unet = released(self.unet, config, naming, file);
        Ok(Self { unet: unet.map_err(|error| PluginError::Weights(error.to_string()))?, ..self })
    }
}

fn released(
    unet: UNet2dCondition,
    config: &UnetConfig,
    naming: Naming,
    file: &Path,
) -> Result<UNet2dCondition, WeightsError> {
    let file = WeightsFile::open(file)?;
    let naming = match naming {
        Naming::Diffusers => found::unet_of_diffusers(&file)?,
        Naming::Ldm => found::unet_of_ldm(&file, config.clone())?,
    };
    naming.load(unet, &file)
}

impl Denoiser for UnetDenoiser {
    fn predict(&self, x_t: Tensor<4>, t: &Timesteps, conditioning: &Conditioning) -> Tensor<4> {
        // Of 1000 timesteps bf16 tells few apart.
        let time = t.to_tensor(&x_t.device(), wide_type(x_t.dtype()));
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

/// The start of a network with adapters.
pub(crate) fn adapted(lora: &LoraConfig, seed: u64, device: &Device) -> Result<Init, PluginError> {
    let (rank, alpha) = (lora.rank, lora.alpha);
    if rank == 0 || !(alpha > 0.0 && alpha.is_finite()) {
        let problem = format!("expected a rank and an alpha above 0, got {rank} and {alpha}");
        return Err(PluginError::Field { field: "adapter", problem });
    }
    Ok(Init::new(seed, device).with_lora(lora.clone()))
}

/// SDXL's six numbers for an uncropped picture of the size that is being made:
/// original height and width, crop top and left, target height and width, in pixels.
fn time_ids(latents: &Tensor<4>) -> Tensor<2> {
    let [batch, _, h, w] = latents.dims();
    let [h, w] = [h, w].map(|side| (side * 8) as f64);
    let row = [h, w, 0.0, 0.0, h, w];
    let data = TensorData::new(row.repeat(batch), [batch, 6]);
    Tensor::from_data(data, (&latents.device(), wide_type(latents.dtype())))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use add_nn::{
        config::PerLevel, unet::DownBlockType::CrossAttnDownBlock2D, unet::UpBlockType::CrossAttnUpBlock2D,
    };
    use add_plugin::Network;
    use add_weights::{NamedTensor, Precision, named_tensors, names::ldm, save};

    use super::*;

    fn config() -> UnetConfig {
        UnetConfig {
            block_out_channels: vec![8, 16],
            down_block_types: vec![CrossAttnDownBlock2D; 2],
            up_block_types: vec![CrossAttnUpBlock2D; 2],
            norm_num_groups: 4,
            cross_attention_dim: PerLevel::All(12),
            attention_head_dim: PerLevel::All(2),
            ..UnetConfig::default()
        }
    }

    fn values(network: &dyn Network) -> BTreeMap<String, Vec<f32>> {
        let mut all = BTreeMap::new();
        network.for_each_parameter(&mut |name, _, value| {
            all.insert(name.to_owned(), value.into_data().iter::<f32>().collect());
        });
        all
    }

    #[test]
    fn a_released_file_fills_the_network_under_both_namings() {
        let folder = tempfile::tempdir().unwrap();
        let source = UnetDenoiser::new(&config(), &Init::new(1, &Device::flex())).unwrap();
        let tensors = named_tensors(&source.unet);
        let path = |name: &str| folder.path().join(name);
        save(&path("unet.safetensors"), &tensors, Precision::F32, &BTreeMap::new()).unwrap();
        let single: BTreeMap<String, NamedTensor> = tensors
            .into_iter()
            .map(|(name, tensor)| match ldm::unet(&config(), &name).under(ldm::UNET) {
                add_weights::Source::Whole(name) => (name, tensor),
                other => panic!("{other:?}"),
            })
            .collect();
        save(&path("single.safetensors"), &single, Precision::F32, &BTreeMap::new()).unwrap();
        for (naming, file) in [(Naming::Diffusers, "unet.safetensors"), (Naming::Ldm, "single.safetensors")] {
            let fresh = UnetDenoiser::new(&config(), &Init::new(2, &Device::flex().autodiff())).unwrap();
            let loaded = fresh.load(&config(), naming, &path(file)).unwrap();
            assert_eq!(values(&loaded), values(&source), "{file}");
            let error = UnetDenoiser::new(&config(), &Init::new(2, &Device::flex())).unwrap();
            let other = path(if naming == Naming::Ldm { "unet.safetensors" } else { "single.safetensors" });
            let error = error.load(&config(), naming, &other).unwrap_err().to_string();
            assert!(error.contains("it holds no U-Net"), "{error}");
        }
    }
}
