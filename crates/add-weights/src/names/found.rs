//! Which naming a file has, read off its tensors.
//!
//! The same network is published under several names: by diffusers and transformers, by timm and the authors' own hubs,
//! by `open_clip`, and inside the single files of Stable Diffusion. A recipe names a file, not its naming.

use add_nn::unet::UnetConfig;
use burn::{module::Module, tensor::DType};

use super::{
    autoencoder_kl_of_2022, clip_text_of_transformers_5, is_unused, ldm, open_clip, open_clip_text,
    vit_from_hub, vit_from_transformers_clip, vit_from_transformers_clip_5, vit_from_transformers_dinov2,
};
use crate::{Mismatch, WeightsFile, error::WeightsError, load::Loading, source::Source};

/// Map from a network's names to a file's.
type Map = Box<dyn Fn(&str) -> Source>;

/// Where a file keeps one network.
pub struct Naming {
    /// Whose names they are.
    pub name: &'static str,
    /// What stands in front of them: other networks of the file have another.
    prefix: &'static str,
    map: Map,
    /// Beginnings of names, behind the prefix, that belong to other networks.
    others: &'static [&'static str],
    /// Layers with this number or a larger one are passed over.
    layers: usize,
}

impl Naming {
    fn new(
        name: &'static str,
        prefix: &'static str,
        map: impl Fn(&str) -> Source + 'static,
        others: &'static [&'static str],
    ) -> Self {
        Self { name, prefix, map: Box::new(map), others, layers: usize::MAX }
    }

    /// For a network that ends early: only the first `layers` of the file are wanted.
    #[must_use]
    pub fn first_layers(self, layers: usize) -> Self {
        Self { layers, ..self }
    }

    /// Fills `module` in single precision.
    ///
    /// # Errors
    /// When a tensor is missing, unexpected or mis-shaped; all of them are listed.
    pub fn load<M: Module>(&self, module: M, file: &WeightsFile) -> Result<M, WeightsError> {
        self.with(|loading| loading.load(module, file))
    }

    /// Compares names and shapes without reading a value.
    pub fn compare<M: Module>(&self, module: &M, file: &WeightsFile) -> Mismatch {
        self.with(|loading| loading.compare(module, file))
    }

    fn with<T>(&self, f: impl FnOnce(Loading<'_>) -> T) -> T {
        let source = |name: &str| (self.map)(name).under(self.prefix);
        let ignore = |name: &str| {
            let Some(name) = name.strip_prefix(self.prefix) else { return true };
            is_unused(name)
                || self.others.iter().any(|other| name.starts_with(other))
                || layer_number(name).is_some_and(|n| n >= self.layers)
        };
        f(Loading { source: &source, ignore: &ignore, dtype: DType::F32 })
    }
}

/// The number in `...layers.N...` or `...resblocks.N...`.
fn layer_number(name: &str) -> Option<usize> {
    let (_, rest) = name.split_once("layers.").or_else(|| name.split_once("resblocks."))?;
    rest.split('.').next()?.parse().ok()
}

/// The first naming whose tell-tale tensor the file has.
fn first(
    file: &WeightsFile,
    network: &str,
    choices: impl IntoIterator<Item = (&'static str, Naming)>,
) -> Result<Naming, WeightsError> {
    let mut wanted = Vec::new();
    for (tensor, naming) in choices {
        let tensor = format!("{}{tensor}", naming.prefix);
        if file.tensors().contains_key(&tensor) {
            return Ok(naming);
        }
        wanted.push(format!("`{tensor}` ({})", naming.name));
    }
    Err(WeightsError::Malformed {
        path: file.path().to_path_buf(),
        reason: format!("it holds no {network}: expected one of {}", wanted.join(", ")),
    })
}

/// A vision transformer.
///
/// # Errors
/// When there is none.
pub fn vit(file: &WeightsFile) -> Result<Naming, WeightsError> {
    let text = &["text_model.", "text_projection", "logit_scale"];
    let tower =
        &["transformer.", "token_embedding", "positional_embedding", "ln_final", "text_projection", "logit"];
    let choices = [
        ("patch_embed.proj.weight", Naming::new("timm, facebook", "", vit_from_hub, &["head"])),
        (
            "embeddings.patch_embeddings.projection.weight",
            Naming::new("transformers", "", vit_from_transformers_dinov2, &["classifier"]),
        ),
        (
            "vision_model.embeddings.patch_embedding.weight",
            Naming::new("transformers", "", vit_from_transformers_clip, text),
        ),
        (
            "embeddings.patch_embedding.weight",
            Naming::new("transformers 5", "", vit_from_transformers_clip_5, &[]),
        ),
        (
            "visual.conv1.weight",
            Naming::new("open_clip", "", |name| open_clip(&format!("visual.{name}")), tower),
        ),
        (
            "patch_embedding.weight",
            Naming::new("this project", "", |name| Source::Whole(name.to_owned()), &[]),
        ),
    ];
    first(file, "vision transformer that is known here", choices)
}

/// Which of the text encoders of a Stable Diffusion file is meant; files of one text encoder have no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextTower {
    /// CLIP ViT-L: of SD1, and the first of SDXL.
    ClipL,
    /// OpenCLIP: of SD2, and the second of SDXL.
    OpenClip,
}

/// A text encoder.
///
/// # Errors
/// When there is none.
pub fn clip_text(file: &WeightsFile, tower: TextTower) -> Result<Naming, WeightsError> {
    /// Names of whole CLIP models; the projection is passed over by encoders that have none.
    const OTHERS: &[&str] =
        &["vision_model.", "visual_projection", "text_projection", "logit_scale", "visual.", "attn_mask"];
    const IN_TRANSFORMERS: &str = "text_model.final_layer_norm.weight";
    const IN_TRANSFORMERS_5: &str = "final_layer_norm.weight";
    const IN_OPEN_CLIP: &str = "ln_final.weight";
    let plain = |prefix| {
        let naming = Naming::new("transformers", prefix, |name| Source::Whole(name.to_owned()), OTHERS);
        (IN_TRANSFORMERS, naming)
    };
    let flat = |prefix| {
        (IN_TRANSFORMERS_5, Naming::new("transformers 5", prefix, clip_text_of_transformers_5, OTHERS))
    };
    let open = |prefix| (IN_OPEN_CLIP, Naming::new("open_clip", prefix, open_clip_text, OTHERS));
    let choices = match tower {
        TextTower::ClipL => vec![
            plain(""),
            flat(""),
            plain(ldm::TEXT_SD1),
            flat(ldm::TEXT_SD1),
            plain(ldm::TEXT_SDXL_1),
            flat(ldm::TEXT_SDXL_1),
            open(""),
        ],
        TextTower::OpenClip => {
            vec![plain(""), flat(""), open(ldm::TEXT_SD2), open(ldm::TEXT_SDXL_2), open("")]
        }
    };
    first(file, "text encoder that is known here", choices)
}

/// An autoencoder of `levels` levels.
///
/// # Errors
/// When there is none.
pub fn autoencoder_kl(file: &WeightsFile, levels: usize) -> Result<Naming, WeightsError> {
    let choices = [
        (
            "decoder.mid.attn_1.q.weight",
            Naming::new(
                "Stable Diffusion's own",
                ldm::AUTOENCODER,
                move |n| ldm::autoencoder_kl(levels, n),
                &[],
            ),
        ),
        (
            "decoder.mid.attn_1.q.weight",
            Naming::new("Stable Diffusion's own", "", move |n| ldm::autoencoder_kl(levels, n), &["loss."]),
        ),
        (
            "decoder.mid_block.attentions.0.query.weight",
            Naming::new("diffusers of 2022", "", autoencoder_kl_of_2022, &[]),
        ),
        (
            "decoder.mid_block.attentions.0.to_q.weight",
            Naming::new("diffusers", "", |name| Source::Whole(name.to_owned()), &[]),
        ),
    ];
    first(file, "autoencoder (AutoencoderKL)", choices)
}

/// The U-Net in a file of diffusers.
///
/// # Errors
/// When there is none.
pub fn unet_of_diffusers(file: &WeightsFile) -> Result<Naming, WeightsError> {
    let naming = Naming::new("diffusers", "", |name| Source::Whole(name.to_owned()), &[]);
    first(file, "U-Net (UNet2DConditionModel)", [("time_embedding.linear_1.weight", naming)])
}

/// Whether there is a U-Net in the names of Stable Diffusion's own code.
pub fn has_unet_of_ldm(file: &WeightsFile) -> bool {
    ldm::UNETS.iter().any(|prefix| file.tensors().contains_key(&format!("{prefix}time_embed.0.weight")))
}

/// The U-Net in a single file of Stable Diffusion.
///
/// # Errors
/// When there is none.
pub fn unet_of_ldm(file: &WeightsFile, config: UnetConfig) -> Result<Naming, WeightsError> {
    let choices = ldm::UNETS.map(|prefix| {
        let config = config.clone();
        let map = move |name: &str| ldm::unet(&config, name);
        ("time_embed.0.weight", Naming::new("Stable Diffusion's own", prefix, map, &[]))
    });
    first(file, "U-Net", choices)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use add_nn::{
        autoencoder_kl::{AutoencoderKl, AutoencoderKlConfig},
        clip_text::{ClipText, ClipTextConfig},
        layers::Init,
    };
    use add_parameters::Network;
    use burn::tensor::Device;

    use super::*;
    use crate::{NamedTensor, Precision, save};

    fn text_config() -> ClipTextConfig {
        ClipTextConfig {
            architectures: vec!["CLIPTextModelWithProjection".to_owned()],
            vocab_size: 11,
            hidden_size: 8,
            intermediate_size: 12,
            projection_dim: 6,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            max_position_embeddings: 5,
            ..ClipTextConfig::default()
        }
    }

    fn text(seed: u64) -> ClipText {
        ClipText::new(&text_config(), &Init::new(seed, &Device::flex())).expect("valid")
    }

    fn values<M: Module>(module: &M) -> BTreeMap<String, Vec<f32>> {
        let mut all = BTreeMap::new();
        module.for_each_parameter(&mut |name, _, v| {
            all.insert(name.to_owned(), v.into_data().try_to_vec().expect("f32"));
        });
        all
    }

    /// A file with `module`'s values where `source` says, joined and transposed as there.
    fn file<M: Module>(module: &M, more: &[&str], source: impl Fn(&str) -> Source) -> WeightsFile {
        let mut rows: BTreeMap<String, Vec<(usize, NamedTensor)>> = BTreeMap::new();
        module.for_each_parameter(&mut |name, shape, values| {
            let shape = shape.to_vec();
            let (name, part, tensor) = match source(name) {
                Source::Whole(name) => (name, 0, NamedTensor { shape, values }),
                Source::Rows { name, part, .. } => (name, part, NamedTensor { shape, values }),
                Source::Transposed(name) => {
                    let matrix = values.reshape([shape[0] as i64, -1]).transpose().flatten(0, 1);
                    (name, 0, NamedTensor { shape: shape.into_iter().rev().collect(), values: matrix })
                }
            };
            rows.entry(name).or_default().push((part, tensor));
        });
        let mut tensors: BTreeMap<String, NamedTensor> = BTreeMap::new();
        for (name, mut parts) in rows {
            parts.sort_by_key(|(part, _)| *part);
            let mut shape = parts[0].1.shape.clone();
            shape[0] *= parts.len();
            let values = burn::tensor::Tensor::cat(parts.into_iter().map(|(_, t)| t.values).collect(), 0);
            tensors.insert(name, NamedTensor { shape, values });
        }
        for name in more {
            let values = burn::tensor::Tensor::zeros([1], &Device::flex());
            tensors.insert((*name).to_owned(), NamedTensor { shape: vec![1], values });
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.safetensors");
        save(&path, &tensors, Precision::F32, &BTreeMap::new()).expect("written");
        WeightsFile::open(path).expect("sound")
    }

    #[test]
    fn a_text_encoder_is_found_under_each_of_its_names() {
        let net = text(1);
        let whole = |name: &str| Source::Whole(name.to_owned());
        for (tower, prefix, map) in [
            (TextTower::ClipL, "", &whole as &dyn Fn(&str) -> Source),
            (TextTower::ClipL, ldm::TEXT_SD1, &whole),
            (TextTower::ClipL, ldm::TEXT_SDXL_1, &whole),
            (TextTower::ClipL, "", &clip_text_of_transformers_5),
            (TextTower::OpenClip, "", &clip_text_of_transformers_5),
            (TextTower::ClipL, ldm::TEXT_SD1, &clip_text_of_transformers_5),
            (TextTower::ClipL, ldm::TEXT_SDXL_1, &clip_text_of_transformers_5),
            (TextTower::OpenClip, ldm::TEXT_SD2, &open_clip_text),
            (TextTower::OpenClip, ldm::TEXT_SDXL_2, &open_clip_text),
            (TextTower::OpenClip, "", &open_clip_text),
        ] {
            let unet = format!("{}out.2.bias", ldm::UNET);
            let logit = format!("{prefix}logit_scale");
            let more: &[&str] = if prefix.is_empty() { &[&logit] } else { &[&logit, &unet] };
            let file = file(&net, more, |name| map(name).under(prefix));
            let naming = clip_text(&file, tower).expect("known");
            assert_eq!(values(&naming.load(text(2), &file).expect("fits")), values(&net), "{prefix}");
        }
    }

    #[test]
    fn an_autoencoder_is_found_under_each_of_its_names() {
        let config = AutoencoderKlConfig {
            block_out_channels: vec![4, 8],
            layers_per_block: 1,
            norm_num_groups: 2,
            ..AutoencoderKlConfig::default()
        };
        let fresh = |seed| AutoencoderKl::new(&config, &Init::new(seed, &Device::flex())).expect("valid");
        let net = fresh(1);
        let whole = |name: &str| Source::Whole(name.to_owned());
        let own = |name: &str| ldm::autoencoder_kl(2, name);
        let in_single_file = |name: &str| own(name).under(ldm::AUTOENCODER);
        let maps: [&dyn Fn(&str) -> Source; 4] = [&whole, &autoencoder_kl_of_2022, &own, &in_single_file];
        for map in maps {
            let file = file(&net, &[], map);
            let naming = autoencoder_kl(&file, 2).expect("known");
            assert_eq!(values(&naming.load(fresh(2), &file).expect("fits")), values(&net), "{}", naming.name);
        }
    }

    #[test]
    fn what_is_not_there_is_asked_for_by_name() {
        let file = file(&text(1), &[], |name| Source::Whole(name.to_owned()));
        let Err(error) = vit(&file) else { panic!("a text encoder is no vision transformer") };
        let error = error.to_string();
        assert!(
            error.contains("patch_embed.proj.weight") && error.contains("visual.conv1.weight"),
            "{error}"
        );
        assert!(unet_of_diffusers(&file).is_err() && unet_of_ldm(&file, UnetConfig::default()).is_err());
    }
}
