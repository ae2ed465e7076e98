//! A LoRA, LoHa or LoKr: what it changes, and for which model it was made.

use super::{Diagnosis, dtypes};
use crate::{
    WeightsFile,
    lora::{LoraFile, Part},
};

/// What kohya's tools and `ModelSpec` say of the model that it was made for.
const BASES: [&str; 3] = ["ss_base_model_version", "modelspec.architecture", "ss_sd_model_name"];

/// How the layers of diffusion transformers begin. In a U-Net a block or an attention stands in front.
const TRANSFORMERS: [&str; 7] = [
    "transformer",
    "single_transformer_blocks",
    "double_blocks",
    "single_blocks",
    "joint_blocks",
    "blocks",
    "layers",
];

/// A layer of the denoiser that no U-Net has, if none of them is a U-Net's.
fn of_transformer(file: &WeightsFile) -> Option<String> {
    let layers = LoraFile::names(file).ok()?;
    let mut denoisers =
        layers.into_keys().filter(|(part, _)| *part == Part::Denoiser).map(|(_, layer)| layer);
    let is_one = |layer: &String| TRANSFORMERS.iter().any(|begin| layer.starts_with(begin));
    let first = denoisers.next().filter(is_one)?;
    denoisers.all(|layer| is_one(&layer)).then_some(first)
}

pub(super) fn tell(file: &WeightsFile, found: &mut Diagnosis) {
    let has = |part: &str| file.tensors().keys().any(|name| name.contains(part));
    let kind = if has(".hada_") {
        "LoHa"
    } else if has(".lokr_") {
        "LoKr"
    } else {
        "LoRA"
    };
    found.is = format!("a {kind}: a change to a model");
    found.fact("dtype", dtypes(file));
    match LoraFile::names(file) {
        Ok(layers) => {
            for part in [Part::Denoiser, Part::Text, Part::Text2] {
                let count = layers.keys().filter(|(of, _)| *of == part).count();
                if count > 0 {
                    let layers = if count == 1 { "layer" } else { "layers" };
                    found.fact("changes", format!("{count} {layers} of the {part}"));
                }
            }
        }
        Err(error) => found.problem(error),
    }
    if let Some(layer) = of_transformer(file) {
        found.problem(format!(
            "its layers, such as `{layer}`, are those of a diffusion transformer (SD3, Flux); the denoisers here are U-Nets"
        ));
    }
    if let Some(base) = BASES.iter().find_map(|key| file.metadata().get(*key)) {
        found.fact("made for", base.as_str());
    }
    found.fact("use", "sample RECIPE --lora FILE[:SCALE], or merge MODEL --lora FILE --out NEW");
}
