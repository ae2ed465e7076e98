//! A folder: a diffusers pipeline, or the folder of one network.

use std::path::Path;

use serde_json::Value;

use super::{Diagnosis, Kind, dtypes, licence, networks};
use crate::{Location, WeightsFile, error::WeightsError};

/// Largest JSON file that is looked at, in bytes.
const MAX_JSON: u64 = 1 << 20;
/// Files of weights, by what writes them.
const FILES: [&str; 5] = [
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_lora_weights.safetensors",
    "adapter_model.safetensors",
];
/// The parts of a pipeline that are networks.
const PARTS: [&str; 4] = ["unet", "vae", "text_encoder", "text_encoder_2"];

/// Looks at a folder.
pub(super) fn diagnose(folder: &Path) -> Result<Diagnosis, WeightsError> {
    let mut found = Diagnosis::default();
    let index = json(&folder.join("model_index.json"));
    if index.is_none() && !folder.join("unet").is_dir() {
        return of_one(folder, found);
    }
    let class = index.as_ref().and_then(|index| index["_class_name"].as_str());
    let mut denoiser = None;
    for part in PARTS {
        let listed = index.as_ref().is_some_and(|index| index[part][0].is_string());
        let path = folder.join(part);
        if !path.is_dir() {
            if listed || ["unet", "vae", "text_encoder"].contains(&part) {
                found.problem(format!("{part}/ is missing"));
            }
            continue;
        }
        match weights(&path) {
            None => found.problem(format!("{part}/ has no {}", FILES[..2].join(" or "))),
            Some(file) => {
                let file = WeightsFile::open(file)?;
                found.fact(part, dtypes(&file));
                let networks = networks::find(&file);
                for network in &networks {
                    network.tell(&mut found);
                }
                if networks.is_empty() {
                    found.problem(format!("{part}/ holds no network that is known here"));
                }
                denoiser = denoiser.or(networks.iter().map(|n| n.kind).find(|kind| kind.is_denoiser()));
            }
        }
    }
    for part in ["tokenizer", "scheduler"] {
        if !folder.join(part).is_dir() {
            // The tokenizer is built in; without a scheduler's file nothing says what the model predicts.
            found.fact(part, "missing; not needed here, but the prediction type is then not checked");
        }
    }
    let scheduler = json(&folder.join("scheduler/scheduler_config.json"));
    if let Some(scheduler) = &scheduler {
        let text = |field: &str, default: &str| scheduler[field].as_str().unwrap_or(default).to_owned();
        found.fact("prediction", text("prediction_type", "epsilon (the default)"));
        if scheduler["rescale_betas_zero_snr"] == Value::Bool(true) {
            found.fact(
                "schedule",
                "zero terminal SNR; say `schedule: ZeroTerminalSnr(inner: ScaledLinear())`",
            );
        }
        let spacing = text("timestep_spacing", "not stated");
        found.fact("scheduler", format!("{}, spacing {spacing}", text("_class_name", "?")));
    }
    let kind = denoiser.unwrap_or(Kind::OtherUnet);
    let turbo =
        turbo_by_name(folder) || index.as_ref().is_some_and(|index| is_turbo(&index["_name_or_path"]));
    let with = denoiser.map_or_else(|| "no U-Net that is known here".to_owned(), |kind| kind.to_string());
    found.is = format!("a diffusers pipeline ({}) with {with}", class.unwrap_or("no model_index.json"));
    found.fact("licence", licence(stated_licence(folder).as_deref(), kind, turbo));
    found.fact("use", format!("model: (weights: Diffusers({:?}))", folder.display().to_string()));
    Ok(found)
}

/// The folder of one network.
fn of_one(folder: &Path, mut found: Diagnosis) -> Result<Diagnosis, WeightsError> {
    let Some(path) = weights(folder) else {
        let expected = FILES.join(", ");
        found.is = String::from("a folder without weights that are known here");
        found.problem(format!(
            "expected model_index.json with unet/, vae/ and text_encoder/, or one of {expected}"
        ));
        return Ok(found);
    };
    let mut found = super::diagnose(&path)?;
    if let Some(class) = json(&folder.join("config.json")).and_then(|config| {
        config["_class_name"].as_str().or(config["architectures"][0].as_str()).map(str::to_owned)
    }) {
        found.fact("config", class);
    }
    Ok(found)
}

/// The weights in a folder: a file, its half-precision variant, or an index.
fn weights(folder: &Path) -> Option<std::path::PathBuf> {
    FILES.iter().find_map(|name| Location::Local(folder.join(name)).cached())
}

/// A small JSON file, if it is there and can be read.
fn json(path: &Path) -> Option<Value> {
    serde_json::from_str(&text(path)?).ok()
}

fn text(path: &Path) -> Option<String> {
    add_files::read_text(path, MAX_JSON).ok()
}

/// `license: ...` in front of the hub's README.
fn stated_licence(folder: &Path) -> Option<String> {
    let readme = text(&folder.join("README.md"))?;
    let front = readme.strip_prefix("---")?.split("\n---").next()?;
    let named = |key: &str| {
        let line = front.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim().to_owned()).filter(|value| !value.is_empty())
    };
    named("license_name:").or_else(|| named("license:"))
}

/// Whether a path's own name says turbo.
pub(super) fn turbo_by_name(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().to_lowercase().contains("turbo"))
}

fn is_turbo(name: &Value) -> bool {
    name.as_str().is_some_and(|name| name.to_lowercase().contains("turbo"))
}
