//! A run's adapters for other programs: in kohya's names, which ComfyUI and A1111's web UI load, or in peft's, which diffusers
//! loads.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use add_plugin::{Content, SingleFile};
use add_recipe::Recipe;
use add_weights::{NamedTensor, Precision, Source, WeightsFile, names::ldm, save};
use burn::tensor::{DType, Tensor};
use serde_json::Value;

use super::{Names, card, check_free, single_file, whole, write_text};
use crate::{
    device, error::CoreError, model_file::ModelCard, read::LoadedRecipe, train::adapters_path,
    train::model_path, weights::ends_at_zero,
};

/// Whose names the tensors carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoraNames {
    /// `lora_unet_….lora_down.weight` with `alpha`.
    Kohya,
    /// `unet.….lora_A.weight` with `alpha / rank` in `B`.
    Peft,
}

/// What diffusers looks for.
const PEFT_FILE: &str = "pytorch_lora_weights";
/// Ends of the names in a run's file.
const ENDS: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];

/// Writes the adapters of the run in `run` into the new folder `out`, and returns the files.
///
/// # Errors
/// When the run trained no adapters, its model has no counterpart in other programs, `out` holds something already, or the
/// disk refuses.
pub fn lora(
    loaded: &LoadedRecipe,
    run: &Path,
    names: LoraNames,
    precision: Precision,
    out: &Path,
) -> Result<Vec<PathBuf>, CoreError> {
    check_free(out)?;
    let recipe = &loaded.recipe;
    let Some(lora) = recipe.model.adapter.lora() else {
        return Err(CoreError::Request(format!(
            "the recipe {} trains the model's own weights (model.adapter: Off()), so there is no LoRA; export the model with \
             --format diffusers or ldm",
            recipe.name
        )));
    };
    let released = Names::of(recipe)?;
    let path = adapters_path(run);
    let file = WeightsFile::open(&path)?;
    file.check_finite(file.tensors().keys().map(String::as_str))?;
    let card = ModelCard::of(&model_path(run))?;
    let layout = released.pipeline.single_file;
    let mut tensors = BTreeMap::new();
    let device = device::of(recipe)?;
    for name in file.tensors().keys() {
        let stranger = || CoreError::Weights {
            path: path.clone(),
            problem: format!(
                "`{name}` is no adapter of this project: expected unet.….lora_A.weight or lora_B.weight"
            ),
        };
        let shape = file.info(name)?.shape.clone();
        let values = file.tensor(name, DType::F32, &device)?;
        let layer = ENDS.iter().find_map(|end| name.strip_prefix("unet.")?.strip_suffix(end));
        let layer = layer.ok_or_else(stranger)?;
        let is_down = name.ends_with(ENDS[0]);
        match names {
            LoraNames::Peft => {
                tensors.insert(name.clone(), NamedTensor { shape, values });
            }
            LoraNames::Kohya => {
                let layer = kohya(layer, &released, layout)?;
                if is_down {
                    let alpha = Tensor::from_floats([lora.alpha as f32], &device);
                    tensors
                        .insert(format!("{layer}.alpha"), NamedTensor { shape: Vec::new(), values: alpha });
                    tensors.insert(format!("{layer}.lora_down.weight"), NamedTensor { shape, values });
                } else {
                    let values = values / lora.scale();
                    tensors.insert(format!("{layer}.lora_up.weight"), NamedTensor { shape, values });
                }
            }
        }
    }
    let mut metadata = card.fields().clone();
    metadata.insert("format".to_owned(), "pt".to_owned());
    metadata.extend(described(recipe, layout, &card));
    whole(out, |partial| {
        let stem = if names == LoraNames::Peft { PEFT_FILE } else { recipe.name.as_str() };
        let file = PathBuf::from(format!("{stem}.safetensors"));
        save(&partial.join(&file), &tensors, precision, &metadata)?;
        let readme = write_text(partial, "README.md", &readme(recipe, names, &file))?;
        Ok(vec![file, readme])
    })
}

/// kohya's name of a layer of diffusers' U-Net. Its tools train SDXL's under Stable Diffusion's own names.
fn kohya(layer: &str, names: &Names, layout: SingleFile) -> Result<String, CoreError> {
    let name = match (&names.denoiser.content, layout) {
        (Content::Network { config, .. }, SingleFile::Sdxl) => {
            let source = ldm::unet_of(Value::Object(config.clone()))
                .map_err(|error| CoreError::Request(format!("model.backbone: {error}")))?;
            match source(&format!("{layer}.weight")) {
                Source::Whole(name) => name.trim_end_matches(".weight").to_owned(),
                Source::Rows { .. } | Source::Transposed(_) => layer.to_owned(),
            }
        }
        _ => layer.to_owned(),
    };
    Ok(format!("lora_unet_{}", name.replace('.', "_")))
}

/// kohya's and `ModelSpec`'s metadata, by which clients sort and describe a LoRA.
fn described(recipe: &Recipe, layout: SingleFile, card: &ModelCard) -> BTreeMap<String, String> {
    let Some(lora) = recipe.model.adapter.lora() else { return BTreeMap::new() };
    let prediction = recipe.model.backbone.info().prediction;
    let is_v = single_file::prediction_type(prediction) == "v";
    let python = |value: bool| if value { "True" } else { "False" }.to_owned();
    let version = match (layout, is_v) {
        (SingleFile::Sd1, false) => "sd_v1",
        (SingleFile::Sd1, true) => "sd_v1_v",
        (SingleFile::Sd2, false) => "sd_v2",
        (SingleFile::Sd2, true) => "sd_v2_v",
        (SingleFile::Sdxl, _) => "sdxl_base_v1-0",
    };
    let size = recipe.data.size();
    let mut fields = vec![
        ("ss_network_module", "networks.lora".to_owned()),
        ("ss_network_dim", lora.rank.to_string()),
        ("ss_network_alpha", lora.alpha.to_string()),
        ("ss_base_model_version", version.to_owned()),
        ("ss_v2", python(layout == SingleFile::Sd2)),
        ("ss_v_parameterization", python(is_v)),
        ("ss_zero_terminal_snr", python(ends_at_zero(&recipe.model))),
        ("ss_resolution", format!("({size}, {size})")),
        ("ss_steps", card.step().to_string()),
        ("ss_output_name", recipe.name.clone()),
        ("modelspec.sai_model_spec", single_file::MODEL_SPEC.to_owned()),
        ("modelspec.architecture", format!("{}/lora", single_file::architecture(layout, prediction))),
        ("modelspec.implementation", "diffusers".to_owned()),
        ("modelspec.title", recipe.name.clone()),
        ("modelspec.prediction_type", single_file::prediction_type(prediction).to_owned()),
        ("modelspec.resolution", format!("{size}x{size}")),
    ];
    if let Some(base) = card::base_model(recipe) {
        fields.push(("ss_sd_model_name", base));
    }
    fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect()
}

fn readme(recipe: &Recipe, names: LoraNames, file: &Path) -> String {
    let front = card::front_matter(recipe, "diffusers", &["text-to-image", "lora"]);
    let (name, file, licence) = (&recipe.name, file.display(), card::LICENCE);
    let (steps, guidance) = (recipe.sampling.steps, recipe.sampling.guidance);
    let base = card::base_model(recipe).unwrap_or_else(|| "the base model".to_owned());
    let whose = match names {
        LoraNames::Kohya => "kohya's names, for ComfyUI and A1111's web UI; diffusers reads them too",
        LoraNames::Peft => "peft's names, for diffusers",
    };
    format!(
        "{front}# {name}\n\nA LoRA for {base}, trained with ADD-in-Rust. {licence}\n\n`{file}` has {whose}. Sample with {} in \
         {steps} steps and a guidance scale of {guidance}.\n\n```python\npipeline.load_lora_weights(\".\", \
         weight_name=\"{file}\")\n```\n",
        recipe.sampling.sampler.name()
    )
}
