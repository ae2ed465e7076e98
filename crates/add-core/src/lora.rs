//! LoRAs and their relatives, merged into the networks that a recipe states.

use std::{collections::BTreeMap, path::Path};

use add_plugin::{Backbone, Content, Denoiser, Fields, Network, Plugin, TextEncoder, TextNetwork};
use add_recipe::SampledModel;
pub use add_weights::lora::Lora;
use add_weights::{
    Progress,
    lora::{Change, Layers, Part, Weighted},
    names::ldm,
};
use burn::tensor::{Device, Tensor};
use serde_json::Value;

use crate::{error::CoreError, read::LoadedRecipe};

/// Adds LoRAs to those that the recipe samples with. Each text is `PLACE` or `PLACE:SCALE`, from the current folder.
///
/// # Errors
/// When a text names no place, the scale is no number, or the file cannot be had or is no LoRA, LoHa or LoKr.
pub fn choose(
    loaded: &mut LoadedRecipe,
    texts: &[String],
    progress: &mut dyn Progress,
) -> Result<(), CoreError> {
    for text in texts {
        let mut lora = Lora::parse(text)?;
        lora.place = lora.place.absolute().map_err(CoreError::io(Path::new(text)))?;
        // What is wrong with its names is said before a model is read.
        lora.open(progress)?;
        loaded.recipe.sampling.loras.push(lora);
    }
    Ok(())
}

/// Writes to `out` the model at `model` with LoRAs merged into it; each text is `PLACE` or `PLACE:SCALE`, from the current
/// folder.
///
/// # Errors
/// When one cannot be had, does not fit the model whole, or `out` cannot be written.
pub fn merge(
    model: &Path,
    texts: &[String],
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<(), CoreError> {
    let mut files = Vec::new();
    for text in texts {
        let lora = Lora::parse(text)?;
        files.push((lora.open(progress)?, lora.scale));
    }
    let files: Vec<Weighted<'_>> = files.iter().map(|(file, scale)| (file, *scale)).collect();
    Ok(add_weights::lora::merge(model, &files, out)?)
}

/// Merges the LoRAs that the recipe samples with.
///
/// # Errors
/// When one cannot be had, or does not fit the model whole.
pub fn onto_sampled(loaded: &LoadedRecipe, model: &mut SampledModel) -> Result<(), CoreError> {
    let recipe = &loaded.recipe;
    let loras = &recipe.sampling.loras;
    onto_denoiser(loras, &recipe.model.backbone, &mut *model.denoiser)?;
    onto_text(loras, &recipe.text, &mut *model.text)
}

/// Merges what `loras` do to a denoiser.
pub(crate) fn onto_denoiser(
    loras: &[Lora],
    backbone: &Plugin<dyn Backbone>,
    denoiser: &mut dyn Denoiser,
) -> Result<(), CoreError> {
    for lora in loras {
        let file = lora.open(&mut ())?;
        let component = backbone.component();
        let (prefix, layers) = match component.as_ref().map(|component| &component.content) {
            Some(Content::Network { config, prefix }) => {
                (*prefix, with_other_names(layers(&*denoiser, prefix), config))
            }
            _ => ("", layers(&*denoiser, "")),
        };
        add(denoiser, prefix, &file.changes(Part::Denoiser, &layers)?, lora.scale)?;
    }
    Ok(())
}

/// Merges what `loras` do to the text encoders.
pub(crate) fn onto_text(
    loras: &[Lora],
    encoder: &Plugin<dyn TextEncoder>,
    text: &mut dyn TextNetwork,
) -> Result<(), CoreError> {
    for lora in loras {
        let file = lora.open(&mut ())?;
        let components = encoder.pipeline().map_or(Vec::new(), |pipeline| pipeline.components);
        for (part, folder) in [(Part::Text, "text_encoder"), (Part::Text2, "text_encoder_2")] {
            if !file.changes_part(part) {
                continue;
            }
            let prefix = components.iter().find_map(|component| match &component.content {
                Content::Network { prefix, .. } if component.folder == folder => Some(*prefix),
                _ => None,
            });
            let Some(prefix) = prefix else {
                let problem = format!(
                    "it changes the {part}, which the recipe's text encoder {} has not; it was made for another model",
                    encoder.name()
                );
                return Err(CoreError::Weights { path: file.path().to_path_buf(), problem });
            };
            add(text, prefix, &file.changes(part, &layers(&*text, prefix))?, lora.scale)?;
        }
    }
    Ok(())
}

/// The layers of the component whose names begin with `prefix`.
fn layers<N: Network + ?Sized>(network: &N, prefix: &str) -> Layers {
    let mut parameters = Vec::new();
    network.for_each_shape(&mut |path, shape| {
        if let Some(name) = path.strip_prefix(prefix) {
            parameters.push((name.to_owned(), shape.to_vec()));
        }
    });
    Layers::new(parameters)
}

/// Under Stable Diffusion's own names too, where the network has some.
fn with_other_names(layers: Layers, config: &Fields) -> Layers {
    match ldm::unet_of(Value::Object(config.clone())) {
        Ok(source) => layers.also(&source),
        Err(_) => layers,
    }
}

/// Adds `scale` times the changes to the parameters behind `prefix`.
fn add<N: Network + ?Sized>(
    network: &mut N,
    prefix: &str,
    changes: &[Change<'_>],
    scale: f64,
) -> Result<(), CoreError> {
    let mut by_name: BTreeMap<String, Vec<&Change<'_>>> = BTreeMap::new();
    for change in changes {
        by_name.entry(format!("{prefix}{}", change.parameter)).or_default().push(change);
    }
    let mut failure = None;
    network.map_parameters(&mut |path, _, value| {
        let Some(changes) = by_name.get(path) else { return value };
        changes.iter().fold(value, |value, change| match added(change, &value, scale) {
            Ok(value) => value,
            Err(error) => {
                failure.get_or_insert(error);
                value
            }
        })
    });
    failure.map_or(Ok(()), Err)
}

fn added(change: &Change<'_>, value: &Tensor<1>, scale: f64) -> Result<Tensor<1>, CoreError> {
    let device: Device = value.device();
    Ok(value.clone() + change.values(&device)?.cast(value.dtype()) * scale)
}
