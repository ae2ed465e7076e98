//! A model in one file: `denoiser.*`, `text.*` where the text encoder has no weights of its own, and in the metadata all
//! that sampling it depends on; or a codec alone, `codec.*`.

use std::{collections::BTreeMap, path::Path};

use add_parameters::{Network, path::current};
use add_recipe::{CODEC_PREFIX, Model, Recipe, one_line, without_places};
use add_weights::{Mismatch, NamedTensor, Precision, WeightsFile, save};
use burn::tensor::DType;

use crate::error::CoreError;

/// What a model file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCard {
    fields: BTreeMap<String, String>,
}

/// Layout version of the metadata.
const FORMAT: &str = "1";

impl ModelCard {
    /// Describes `model`, trained for `step` steps by `recipe`; `student_timesteps` is empty for a model of all timesteps.
    pub fn new(recipe: &Recipe, model: &Model, student_timesteps: &[usize], step: u64) -> Self {
        let timesteps: Vec<String> = student_timesteps.iter().map(ToString::to_string).collect();
        let fields = [
            ("add.format", FORMAT.to_owned()),
            ("add.recipe", recipe.name.clone()),
            ("add.step", step.to_string()),
            ("add.backbone", one_line(&model.backbone)),
            ("add.schedule", one_line(&model.schedule)),
            ("add.prediction", format!("{:?}", model.backbone.info().prediction)),
            ("add.text", without_places(&one_line(&recipe.text))),
            ("add.codec", without_places(&one_line(&recipe.codec))),
            ("add.sampler", one_line(&recipe.sampling.sampler)),
            ("add.student_timesteps", timesteps.join(",")),
        ];
        Self { fields: fields.map(|(key, value)| (key.to_owned(), value)).into() }
    }

    /// Describes the codec of `recipe`, trained for `step` steps.
    pub fn of_codec(recipe: &Recipe, step: u64) -> Self {
        let of_both = ["add.format", "add.recipe", "add.step", "add.codec"];
        let mut card = Self::new(recipe, &recipe.model, &[], step);
        card.fields.retain(|key, _| of_both.contains(&key.as_str()));
        card
    }

    /// What the file at `path` says.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn of(path: &Path) -> Result<Self, CoreError> {
        Ok(Self { fields: WeightsFile::open(path)?.metadata().clone() })
    }

    /// Training steps; 0 for a model that was not trained here.
    pub fn step(&self) -> u64 {
        self.fields.get("add.step").and_then(|step| step.parse().ok()).unwrap_or(0)
    }

    /// Every field.
    pub fn fields(&self) -> &BTreeMap<String, String> {
        &self.fields
    }

    /// The student timesteps, ascending; empty for a model that knows all.
    pub fn student_timesteps(&self) -> Vec<usize> {
        let text = self.fields.get("add.student_timesteps").map_or("", String::as_str);
        text.split(',').filter_map(|t| t.parse().ok()).collect()
    }
}

/// Writes `networks` (by prefix) to `path`.
///
/// # Errors
/// When a value is not finite or the disk refuses.
pub fn write(
    path: &Path,
    networks: &[(&str, &dyn Network)],
    precision: Precision,
    card: &ModelCard,
) -> Result<(), CoreError> {
    let mut tensors = BTreeMap::new();
    let mut broken = None;
    for (prefix, network) in networks {
        network.for_each_parameter(&mut |name, shape, values| {
            let name = format!("{prefix}.{name}");
            if !add_train::gradients::scalar(values.clone().abs().sum()).is_finite() {
                broken = Some(name.clone());
            }
            tensors.insert(name, NamedTensor { shape: shape.to_vec(), values });
        });
    }
    let failed = |problem: String| CoreError::Weights { path: path.to_path_buf(), problem };
    if let Some(name) = broken {
        return Err(failed(format!("`{name}` is not finite; such a model is not exported")));
    }
    save(path, &tensors, precision, &card.fields).map_err(|e| failed(e.to_string()))
}

/// Fills `networks` (by prefix, `denoiser`, `text` or `codec`) from the file at `path`, which must hold a model of this recipe's shape.
///
/// # Errors
/// When the file is missing, damaged, or holds another model.
pub fn read(
    path: &Path,
    recipe: &Recipe,
    model: &Model,
    networks: &mut [(&str, &mut dyn Network)],
) -> Result<ModelCard, CoreError> {
    let failed = |problem: String| CoreError::Weights { path: path.to_path_buf(), problem };
    let file = WeightsFile::open(path).map_err(|e| failed(e.to_string()))?;
    let card = ModelCard { fields: file.metadata().clone() };
    let expected = ModelCard::new(recipe, model, &[], 0);
    let fills = |which: &str| networks.iter().any(|(prefix, _)| *prefix == which);
    let (denoiser, text, codec) = (fills("denoiser"), fills("text"), fills(CODEC_PREFIX));
    // A text encoder alone fits whatever denoiser lies beside it, and a codec alone whatever model.
    let matters = [
        ("add.format", true),
        ("add.text", denoiser || text),
        ("add.backbone", denoiser),
        ("add.schedule", denoiser),
        ("add.prediction", denoiser),
        ("add.codec", denoiser || codec),
    ];
    for (key, _) in matters.into_iter().filter(|(_, matters)| *matters) {
        let found = card.fields.get(key).map_or("nothing", String::as_str);
        let expected = &expected.fields[key];
        // Files of before carry the places of the machine that made them.
        if without_places(found) != *expected {
            return Err(failed(format!("it holds another model: {key}: expected {expected}, found {found}")));
        }
    }
    let stored: BTreeMap<String, &String> = file.tensors().keys().map(|name| (current(name), name)).collect();
    let (mut mismatch, mut damaged) = (Mismatch::default(), None);
    for (prefix, network) in networks {
        network.set_parameters(&mut |name, shape, device| {
            let name = format!("{prefix}.{name}");
            let stored = stored.get(&name).map_or(&*name, |stored| stored.as_str());
            let loaded = match file.info(stored) {
                Ok(info) if info.shape == shape => {
                    file.check_finite([stored]).and_then(|()| file.tensor(stored, DType::F32, device))
                }
                Ok(info) => {
                    mismatch.misshaped.push((name, shape.to_vec(), info.shape.clone()));
                    return None;
                }
                Err(_) => {
                    mismatch.missing.push(name);
                    return None;
                }
            };
            loaded.map_err(|error| damaged.get_or_insert(error.to_string())).ok()
        });
    }
    match damaged {
        Some(damage) => Err(failed(damage)),
        None if mismatch.is_empty() => Ok(card),
        None => Err(failed(format!("it does not fit the network: {mismatch}"))),
    }
}
