//! The one adapter from a `UNet2dCondition` to a [`Denoiser`].

use std::path::Path;

use add_kernels::wide_type;
use add_nn::{
    layers::{Checkpointing, Init},
    unet::{AddedConditions, AdditionEmbedType, ClassEmbedType, UNet2dCondition, UnetConditions, UnetConfig},
};
use add_plugin::{
    Component, Conditioning, Content, Denoiser, LoraConfig, Naming, PictureSizes, PluginError, TextInfo,
    Timesteps, fields, within,
};
use add_weights::{WeightsError, WeightsFile, names::found, stated::Stated};
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
    #[module(skip)]
    takes_guidance: bool,
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
        Ok(Self { unet, added, takes_guidance: config.time_cond_proj_dim.is_some() })
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

impl UnetDenoiser {
    /// What the U-Net is told beside the text states.
    fn told(
        &self,
        x_t: &Tensor<4>,
        t: &Timesteps,
        conditioning: &Conditioning,
    ) -> (Tensor<1>, UnetConditions) {
        let Conditioning { pooled, mask, guidance, sizes, .. } = conditioning;
        // Of 1000 timesteps bf16 tells few apart.
        let (device, wide) = (x_t.device(), wide_type(x_t.dtype()));
        let pooled = || pooled.clone();
        let added = match self.added {
            Added::Nothing => None,
            Added::Pooled => Some(AddedConditions::Pooled(pooled())),
            Added::TextTime => {
                let sizes = sizes.as_ref().expect("the caller states the sizes that this backbone asks for");
                Some(AddedConditions::TextTime {
                    text_embeds: pooled(),
                    time_ids: Tensor::from_data(time_ids(sizes), (&device, wide)),
                })
            }
        };
        let guidance = guidance.as_ref().filter(|_| self.takes_guidance);
        let guidance = guidance.map(|scales| Tensor::from_data(&scales[..], (&device, wide)));
        (t.to_tensor(&device, wide), UnetConditions { added, guidance, mask: mask.clone() })
    }
}

fn released(
    mut unet: UNet2dCondition,
    config: &UnetConfig,
    naming: Naming,
    file: &Path,
) -> Result<UNet2dCondition, WeightsError> {
    let file = WeightsFile::open(file)?;
    let naming = match naming {
        Naming::Diffusers => found::unet_of_diffusers(&file)?,
        Naming::Ldm => found::unet_of_ldm(&file, config.clone())?,
    };
    let stated = Stated::of(&file);
    stated
        .check_guidance(config.time_cond_proj_dim.is_some())
        .map_err(|reason| WeightsError::Malformed { path: file.path().to_path_buf(), reason })?;
    // Most released files do not have its projection, which begins as nothing then.
    if stated.guidance_embedding.is_some() {
        return naming.load(unet, &file);
    }
    let projection = unet.replace_guidance(None);
    let mut unet = naming.load(unet, &file)?;
    unet.replace_guidance(projection);
    Ok(unet)
}

impl Denoiser for UnetDenoiser {
    fn predict(&self, x_t: Tensor<4>, t: &Timesteps, conditioning: &Conditioning) -> Tensor<4> {
        let (time, conditions) = self.told(&x_t, t, conditioning);
        self.unet.forward(x_t, time, conditioning.tokens.clone(), conditions)
    }

    fn takes_guidance(&self) -> bool {
        self.takes_guidance
    }

    fn features(
        &self,
        x_t: Tensor<4>,
        t: &Timesteps,
        conditioning: &Conditioning,
        blocks: &[String],
    ) -> Result<Vec<Tensor<3>>, PluginError> {
        let (time, conditions) = self.told(&x_t, t, conditioning);
        let states = self.unet.features(x_t, time, conditioning.tokens.clone(), conditions, blocks);
        let flat = |(state, name): (Option<Tensor<4>>, &String)| match state {
            Some(state) => Ok(state.flatten(2, 3)),
            None => Err(PluginError::Mismatch(format!(
                "the U-Net has no block `{name}`; expected down_blocks.N, mid_block or up_blocks.N of its levels"
            ))),
        };
        states.into_iter().zip(blocks).map(flat).collect()
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

/// SDXL's six numbers for each picture, `[B, 6]`: original height and width, crop top and left, target height and width,
/// in pixels.
fn time_ids(sizes: &[PictureSizes]) -> TensorData {
    let row = |&PictureSizes { original, crop, target }: &PictureSizes| [original, crop, target].concat();
    let numbers: Vec<f64> = sizes.iter().flat_map(row).map(|pixels| pixels as f64).collect();
    TensorData::new(numbers, [sizes.len(), 6])
}

/// Checks the width of the embedding of the guidance scale, if a recipe wants one.
pub(crate) fn check_guidance(width: Option<usize>) -> Result<(), PluginError> {
    let Some(width) = width else { return Ok(()) };
    within("guidance_embedding", width, 4..=4096)?;
    if width.is_multiple_of(2) {
        return Ok(());
    }
    let problem = format!("expected an even number, got {width}");
    Err(PluginError::Field { field: "guidance_embedding", problem })
}

/// Refuses a text encoder with token states of another width than the U-Net `name` attends to, or with a pooled embedding of
/// another width than joins its timestep embedding.
pub(crate) fn check_text(
    name: &str,
    width: usize,
    config: &UnetConfig,
    text: TextInfo,
) -> Result<(), PluginError> {
    if text.width != width {
        return Err(PluginError::Mismatch(format!(
            "the backbone {name} attends to token states of width {width}, the text encoder gives {}",
            text.width
        )));
    }
    match pooled_width(config) {
        Some(pooled) if text.pooled != pooled => Err(PluginError::Mismatch(format!(
            "the backbone {name} is conditioned on a pooled embedding of width {pooled}, the text encoder gives {}; \
             expected the text encoder that the model was trained with",
            text.pooled
        ))),
        _ => Ok(()),
    }
}

/// Width of the pooled embedding that joins SDXL's timestep embedding, beside six numbers of the picture's size.
fn pooled_width(config: &UnetConfig) -> Option<usize> {
    config.projection_class_embeddings_input_dim?.checked_sub(6 * config.addition_time_embed_dim?)
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

    #[test]
    fn a_file_without_a_guidance_embedding_fills_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unet.safetensors");
        let source = UnetDenoiser::new(&config(), &Init::new(1, &Device::flex())).unwrap();
        save(&path, &named_tensors(&source.unet), Precision::F32, &BTreeMap::new()).unwrap();
        let told = UnetConfig { time_cond_proj_dim: Some(8), ..config() };
        let fresh = UnetDenoiser::new(&told, &Init::new(2, &Device::flex())).unwrap();
        let loaded = values(&fresh.load(&told, Naming::Diffusers, &path).unwrap());
        let own: Vec<&str> =
            loaded.keys().filter(|name| name.contains("cond_proj")).map(String::as_str).collect();
        assert_eq!(own, ["unet.time_embedding.cond_proj.weight"]);
        assert!(loaded[own[0]].iter().all(|&x| x == 0.0));
        assert!(values(&source).iter().all(|(name, value)| loaded[name] == *value));
    }

    #[test]
    fn the_six_numbers_are_original_crop_and_target() {
        let sizes = PictureSizes { original: [768, 1024], crop: [0, 64], target: [512, 256] };
        let got: Vec<f64> = time_ids(&[sizes]).try_to_vec().unwrap();
        assert_eq!(got, [768.0, 1024.0, 0.0, 64.0, 512.0, 256.0]);
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
