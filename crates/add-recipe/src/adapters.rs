//! A student that is its frozen base with low-rank adapters beside it.

use std::collections::BTreeMap;

use add_plugin::{DOWN, Denoiser, Lora, Network, PluginError, UP, is_adapter, without_variants};
use add_weights::NamedTensor;
use burn::tensor::{DType, Device, Tensor};

use crate::Recipe;

/// The recipe's backbone on `device` with adapters that begin as nothing, beside the values of `base`, which are shared.
///
/// # Errors
/// When the backbone does not support adapters, or no layer has one of the names.
pub fn adapted(
    recipe: &Recipe,
    lora: &Lora,
    base: &dyn Denoiser,
    device: &Device,
) -> Result<Box<dyn Denoiser>, PluginError> {
    let mut network = recipe.model.backbone.adapted(recipe.text.info(), lora, recipe.seed, device)?;
    let base = values(base);
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
    lora: &Lora,
    adapted: &dyn Denoiser,
    device: &Device,
) -> Result<Box<dyn Denoiser>, PluginError> {
    let mut network = recipe.model.backbone.init(recipe.text.info(), recipe.seed, device)?;
    let values = values(adapted);
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
pub fn alone(network: &dyn Network, lora: &Lora, prefix: &str, place: &str) -> BTreeMap<String, NamedTensor> {
    let named = |(path, tensor): (String, NamedTensor)| {
        let path = path.strip_prefix(prefix).unwrap_or(&path);
        let NamedTensor { shape, values } = tensor;
        let (layer, end, values) = if let Some(layer) = path.strip_suffix(UP) {
            (layer, "lora_B", values * lora.scale())
        } else {
            (path.strip_suffix(DOWN)?, "lora_A", values)
        };
        let layer = without_variants(layer);
        Some((format!("{place}{layer}.{end}.weight"), NamedTensor { shape, values }))
    };
    values(network).into_iter().filter_map(named).collect()
}

fn values(network: &dyn Network) -> BTreeMap<String, NamedTensor> {
    let mut all = BTreeMap::new();
    network.for_each_parameter(&mut |path, shape, values| {
        all.insert(path.to_owned(), NamedTensor { shape: shape.to_vec(), values });
    });
    all
}

/// Rows of the first dimension.
fn matrix(factor: &NamedTensor) -> Tensor<2> {
    let rows = factor.shape[0];
    let columns = factor.shape[1..].iter().product();
    factor.values.clone().reshape([rows, columns])
}
