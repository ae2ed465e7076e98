//! peft's settings, which stand beside its tensors: in `adapter_config.json`, or in the metadata that diffusers writes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{key::Part, problem};
use crate::{WeightsFile, error::WeightsError};

/// peft's file beside `adapter_model.safetensors`.
const CONFIG: &str = "adapter_config.json";
/// diffusers' field of a file's metadata.
const METADATA: &str = "lora_adapter_metadata";
/// What stands in front of its fields.
const PARTS: [(&str, Part); 3] =
    [("unet", Part::Denoiser), ("text_encoder", Part::Text), ("text_encoder_2", Part::Text2)];
/// Largest such file, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// Settings by part; `None` stands for every part.
#[derive(Debug, Default)]
pub(super) struct PeftConfig(Vec<(Option<Part>, Settings)>);

#[derive(Debug, Clone, Deserialize)]
struct Settings {
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    rank_pattern: BTreeMap<String, usize>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
}

impl PeftConfig {
    /// What stands beside a file, and in it.
    pub(super) fn of(file: &WeightsFile) -> Result<Self, WeightsError> {
        let path = file.path();
        let wrong = |what: &str, error: serde_json::Error| -> WeightsError {
            problem(path.to_path_buf(), format!("{what} is not readable as peft's settings: {error}"))
        };
        if let Some(text) = file.metadata().get(METADATA) {
            let fields: serde_json::Map<String, Value> =
                serde_json::from_str(text).map_err(|error| wrong(METADATA, error))?;
            let mut all = Vec::new();
            for (name, part) in PARTS {
                let own = fields.iter().filter_map(|(field, value)| {
                    let (of, field) = field.split_once('.')?;
                    (of == name).then(|| (field.to_owned(), value.clone()))
                });
                let own: serde_json::Map<String, Value> = own.collect();
                if !own.is_empty() {
                    let settings =
                        serde_json::from_value(Value::Object(own)).map_err(|error| wrong(METADATA, error))?;
                    all.push((Some(part), settings));
                }
            }
            return Ok(Self(all));
        }
        let beside = path.with_file_name(CONFIG);
        let peft = path.file_stem().is_some_and(|stem| stem == "adapter_model");
        if !peft || !beside.exists() {
            return Ok(Self::default());
        }
        let io = |source| WeightsError::Io { path: beside.clone(), source };
        let text = add_files::read(&beside, MAX_CONFIG).map_err(io)?;
        let settings = serde_json::from_slice(&text).map_err(|error| wrong(CONFIG, error))?;
        Ok(Self(vec![(None, settings)]))
    }

    /// By what the product of a layer is multiplied; nothing where peft says nothing.
    pub(super) fn scale(&self, part: Part, layer: &str) -> Option<f64> {
        let (_, settings) = self.0.iter().find(|(of, _)| of.is_none_or(|of| of == part))?;
        let ends = |pattern: &str| {
            layer.strip_suffix(pattern).is_some_and(|front| front.is_empty() || front.ends_with('.'))
        };
        let rank = settings.rank_pattern.iter().find(|(p, _)| ends(p)).map_or(settings.r, |(_, rank)| *rank);
        let alpha =
            settings.alpha_pattern.iter().find(|(p, _)| ends(p)).map_or(settings.lora_alpha, |(_, a)| *a);
        let rank = rank.max(1) as f64;
        Some(alpha / if settings.use_rslora { rank.sqrt() } else { rank })
    }
}
