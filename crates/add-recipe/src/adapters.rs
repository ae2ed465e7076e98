//! A student that is its frozen base with low-rank adapters beside it.

use std::collections::BTreeMap;

use add_plugin::{Content, DOWN, Denoiser, LoraConfig, Network, PluginError, UP, is_adapter};
use add_train::networks::{NetworkSet, Role};
use add_weights::{NamedTensor, named_tensors};
use burn::tensor::{DType, Device, Tensor};

use crate::{Recipe, in_bf16};

/// The recipe's backbone on `device` with adapters that begin as nothing, beside the values of `base`, which are shared.
///
/// # Errors
/// When the backbone does not support adapters, or no layer has one of the names.
pub fn adapted(
    recipe: &Recipe,
    lora: &LoraConfig,
    base: &dyn Denoiser,
    device: &Device,
) -> Result<Box<dyn Denoiser>, PluginError> {
    let mut network = recipe.model.backbone.adapted(recipe.text.info(), lora, recipe.seed, device)?;
    let base = named_tensors(base);
    let mut count = 0;
    network.set_parameters(&mut |path, _, _| {
        count += usize::from(is_adapter(path));
        base.get(path).map(|base| base.values.clone())
    });
    if count == 0 {
        let problem =
            format!("no layer of {} ends with one of {:?}", recipe.model.backbone.name(), lora.targets);
        return Err(PluginError::Field { field: "adapter", problem });
    }
    Ok(network)
}

/// The plain network whose weights are `W + (alpha / rank) B A` of the `adapted` one.
///
/// # Errors
/// When the backbone cannot be made.
pub fn merged(
    recipe: &Recipe,
    lora: &LoraConfig,
    adapted: &dyn Denoiser,
    device: &Device,
) -> Result<Box<dyn Denoiser>, PluginError> {
    let mut network = recipe.model.backbone.init(recipe.text.info(), recipe.seed, device)?;
    let values = named_tensors(adapted);
    network.set_parameters(&mut |path, _, _| {
        // The base may be held in bf16.
        let weight = values.get(path)?.values.clone().cast(DType::F32);
        let layer = path.strip_suffix(".weight").unwrap_or(path);
        let factors = [UP, DOWN].map(|end| values.get(&format!("{layer}{end}")));
        let [Some(up), Some(down)] = factors else { return Some(weight) };
        Some(weight + matrix(up).matmul(matrix(down)).flatten::<1>(0, 1) * lora.scale())
    });
    Ok(network)
}

/// The adapters by the names of peft, behind `place`, with the scale in `B`: what diffusers loads with its own.
pub fn alone(
    network: &dyn Network,
    lora: &LoraConfig,
    prefix: &str,
    place: &str,
) -> BTreeMap<String, NamedTensor> {
    let named = |(path, tensor): (String, NamedTensor)| {
        let path = path.strip_prefix(prefix).unwrap_or(&path);
        let NamedTensor { shape, values } = tensor;
        let (layer, end, values) = if let Some(layer) = path.strip_suffix(UP) {
            (layer, "lora_B", values * lora.scale())
        } else {
            (path.strip_suffix(DOWN)?, "lora_A", values)
        };
        Some((format!("{place}{layer}.{end}.weight"), NamedTensor { shape, values }))
    };
    named_tensors(network).into_iter().filter_map(named).collect()
}

/// The averaged student of `role`, a network of the recipe's model, as it is sampled: its adapters, where it has some, are
/// merged into its weights.
///
/// # Errors
/// When the backbone cannot be made.
pub fn averaged(
    recipe: &Recipe,
    networks: &NetworkSet,
    role: Role,
    device: &Device,
) -> Result<Box<dyn Denoiser>, PluginError> {
    let denoiser = networks.averaged_denoiser(role);
    let Some(lora) = recipe.model.adapter.lora() else { return Ok(denoiser) };
    Ok(in_bf16::denoiser(merged(recipe, lora, &*denoiser, device)?, recipe.dtype.model))
}

/// The averaged adapters of the student of `role` by the names of peft; none where it has none.
pub fn averaged_alone(recipe: &Recipe, networks: &NetworkSet, role: Role) -> BTreeMap<String, NamedTensor> {
    let Some(lora) = recipe.model.adapter.lora() else { return BTreeMap::new() };
    let component = recipe.model.backbone.component();
    let prefix = match component.as_ref().map(|component| &component.content) {
        Some(Content::Network { prefix, .. }) => *prefix,
        _ => "",
    };
    alone(&*networks.averaged_denoiser(role), lora, prefix, "unet.")
}

/// Rows of the first dimension.
fn matrix(factor: &NamedTensor) -> Tensor<2> {
    let rows = factor.shape[0];
    let columns = factor.shape[1..].iter().product();
    factor.values.clone().reshape([rows, columns])
}
