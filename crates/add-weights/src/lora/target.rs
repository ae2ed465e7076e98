//! The networks in a file into which changes are merged.

use std::fmt;

use add_nn::{
    clip_text::{ClipText, ClipTextConfig},
    layers::Init,
    unet::{UNet2dCondition, UnetConfig},
};
use add_parameters::Network;
use burn::tensor::Device;

use super::{Layers, Part};
use crate::{
    Source, WeightsFile,
    doctor::{Kind, instead, unet_kind},
    names::{clip_text_of_transformers_5, found::has_unet_of_ldm, ldm, open_clip_text},
};

/// A network of a file.
pub(super) struct Target {
    pub(super) part: Part,
    /// Its layers by the library's names.
    pub(super) layers: Layers,
    /// Where the file keeps a parameter.
    pub(super) source: Box<dyn Fn(&str) -> Source>,
    /// Whether the file holds other networks too, so that no other file is looked at.
    pub(super) is_in_single_file: bool,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("part", &self.part).finish_non_exhaustive()
    }
}

/// The one network of a file, in diffusers' or transformers' names.
pub(super) fn network(part: Part, file: &WeightsFile) -> Target {
    let parameters = file.tensors().iter().map(|(name, info)| (name.clone(), info.shape.clone()));
    let layers = Layers::new(parameters);
    let layers = match unet_kind(file).and_then(config) {
        Some(config) => layers.also(&move |name| ldm::unet(&config, name)),
        None => layers,
    };
    Target { part, layers, source: Box::new(|name| Source::Whole(name.to_owned())), is_in_single_file: false }
}

/// The networks of a single file, or the one of any other.
pub(super) fn single_file(file: &WeightsFile) -> Result<Vec<Target>, String> {
    if let Some(what) = instead(file) {
        return Err(what.to_owned());
    }
    let has = |name: &str| file.tensors().contains_key(name);
    if !has_unet_of_ldm(file) {
        if has("time_embedding.linear_1.weight") {
            return Ok(vec![Target { is_in_single_file: true, ..network(Part::Denoiser, file) }]);
        }
        let text =
            ["text_model.final_layer_norm.weight", "final_layer_norm.weight"].iter().any(|name| has(name));
        if text {
            return Ok(vec![Target { is_in_single_file: true, ..network(Part::Text, file) }]);
        }
        return Err(
            "it holds no model that is known here: expected a diffusers pipeline, a single file of Stable \
                    Diffusion, a U-Net or a text encoder"
                .to_owned(),
        );
    }
    let mut targets = vec![unet(file)?];
    for prefix in [ldm::TEXT_SD1, ldm::TEXT_SDXL_1] {
        if has(&format!("{prefix}text_model.final_layer_norm.weight")) {
            targets.push(text(Part::Text, &ClipTextConfig::default(), move |name| {
                Source::Whole(name.to_owned()).under(prefix)
            })?);
        } else if has(&format!("{prefix}final_layer_norm.weight")) {
            targets.push(text(Part::Text, &ClipTextConfig::default(), move |name| {
                clip_text_of_transformers_5(name).under(prefix)
            })?);
        }
    }
    for (part, prefix, config) in [
        (Part::Text, ldm::TEXT_SD2, ClipTextConfig::open_clip(1024, 24, 16)),
        (Part::Text2, ldm::TEXT_SDXL_2, ClipTextConfig::open_clip(1280, 32, 20).projected()),
    ] {
        if has(&format!("{prefix}ln_final.weight")) {
            targets.push(text(part, &config, move |name| open_clip_text(name).under(prefix))?);
        }
    }
    Ok(targets)
}

fn unet(file: &WeightsFile) -> Result<Target, String> {
    let Some(config) = unet_kind(file).and_then(config) else {
        return Err("expected the U-Net of Stable Diffusion 1, 2 or XL: of another shape the names do not say which layer \
                    is which; merge it as a diffusers pipeline"
            .to_owned());
    };
    let tell_tale = |prefix: &&str| file.tensors().contains_key(&format!("{prefix}time_embed.0.weight"));
    let prefix = ldm::UNETS.into_iter().find(tell_tale).unwrap_or(ldm::UNET);
    let network = UNet2dCondition::new(&config, &Init::new(0, &Device::flex()));
    let network = network.map_err(|error| error.to_string())?;
    let own = config.clone();
    Ok(Target {
        part: Part::Denoiser,
        layers: outlined(&network).also(&move |name| ldm::unet(&own, name)),
        source: Box::new(move |name| ldm::unet(&config, name).under(prefix)),
        is_in_single_file: true,
    })
}

fn text(
    part: Part,
    config: &ClipTextConfig,
    source: impl Fn(&str) -> Source + 'static,
) -> Result<Target, String> {
    let network = ClipText::new(config, &Init::new(0, &Device::flex())).map_err(|error| error.to_string())?;
    Ok(Target { part, layers: outlined(&network), source: Box::new(source), is_in_single_file: true })
}

/// The layers of a network of which no value is made.
fn outlined(network: &dyn Network) -> Layers {
    let mut parameters = Vec::new();
    network.for_each_shape(&mut |name, shape| parameters.push((name.to_owned(), shape.to_vec())));
    Layers::new(parameters)
}

/// The configuration of a released U-Net.
fn config(kind: Kind) -> Option<UnetConfig> {
    match kind {
        Kind::Sd15 => Some(UnetConfig::sd15()),
        Kind::Sd21 => Some(UnetConfig::sd21()),
        Kind::Sdxl => Some(UnetConfig::sdxl()),
        _ => None,
    }
}
