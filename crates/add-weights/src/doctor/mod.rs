//! What a file or folder of weights is: architecture, naming, number types, prediction type, what is missing, whose licence.
//!
//! It is read off names, shapes and the small JSON files beside them; no value is looked at.

mod networks;
mod pipeline;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, path::Path};

pub use networks::{Kind, NetworkReport};

use crate::{WeightsFile, error::WeightsError};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// In a few words.
    pub is: String,
    /// `(topic, finding)`, in the order of telling.
    pub facts: Vec<(String, String)>,
    /// What stands in the way of its use; empty when nothing does.
    pub problems: Vec<String>,
}

impl Diagnosis {
    fn fact(&mut self, topic: &str, finding: impl Into<String>) {
        self.facts.push((topic.to_owned(), finding.into()));
    }

    fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.is)?;
        for (topic, finding) in &self.facts {
            write!(f, "\n  {topic:<12} {finding}")?;
        }
        for problem in &self.problems {
            write!(f, "\n  problem      {problem}")?;
        }
        Ok(())
    }
}

/// Looks at a file, an index of shards, or the folder of a diffusers pipeline or of one network.
///
/// # Errors
/// When it cannot be read, is damaged, or is beyond the limits.
pub fn diagnose(path: &Path) -> Result<Diagnosis, WeightsError> {
    if path.is_dir() { pipeline::diagnose(path) } else { Ok(of_file(&WeightsFile::open(path)?)) }
}

/// A single file: one network, or the several of a Stable Diffusion file.
fn of_file(file: &WeightsFile) -> Diagnosis {
    let mut found = Diagnosis::default();
    if file.metadata().contains_key("add.format") {
        found.is = String::from("a model of this project");
        for (key, value) in file.metadata() {
            found.fact(key.trim_start_matches("add."), value.as_str());
        }
        found.fact("dtype", dtypes(file));
        found.fact("use", "sample RECIPE --weights FILE, or `model: (weights: File(\"...\"))`");
        return found;
    }
    let networks = networks::find(file);
    found.fact("dtype", dtypes(file));
    for network in &networks {
        network.tell(&mut found);
    }
    let denoiser = networks.iter().find(|network| network.kind.is_denoiser());
    match (networks.as_slice(), denoiser) {
        ([], _) => {
            found.is = String::from("a file of tensors in no naming that is known here");
            found.fact("tensors", examples(file));
            found.problem(unsupported(file));
        }
        ([one], _) => found.is = format!("{}, in the names of {}", one.kind, one.naming),
        (_, Some(denoiser)) => {
            found.is = format!("a single file of {}", denoiser.kind);
            complete(&mut found, &networks, denoiser.kind);
        }
        (_, None) => found.is = String::from("several networks without a denoiser"),
    }
    if let Some(kind) = denoiser.map(|network| network.kind) {
        let stated = ["modelspec.prediction_type", "modelspec.predict_key"];
        let stated = stated.iter().find_map(|key| file.metadata().get(*key));
        match stated {
            Some(stated) => found.fact("prediction", stated.as_str()),
            None if kind == Kind::Sd21 => found.fact(
                "prediction",
                "not stated; the 512-pixel base and SD-Turbo predict epsilon, the 768-pixel model v",
            ),
            None => found.fact("prediction", "not stated; epsilon in all releases of this shape"),
        }
        let stated = file.metadata().get("modelspec.license").map(String::as_str);
        found.fact("licence", licence(stated, kind, pipeline::turbo_by_name(file.path())));
    }
    found
}

/// Text encoder and autoencoder belong into a single file.
fn complete(found: &mut Diagnosis, networks: &[NetworkReport], denoiser: Kind) {
    let has = |kind: &dyn Fn(Kind) -> bool| networks.iter().any(|network| kind(network.kind));
    if !has(&|kind| kind == Kind::AutoencoderKl) {
        found.problem("no autoencoder; name another one as the recipe's codec");
    }
    let encoders: &[Kind] = match denoiser {
        Kind::Sd15 => &[Kind::ClipL],
        Kind::Sd21 => &[Kind::OpenClip1024],
        _ => &[Kind::ClipL, Kind::BigG],
    };
    for encoder in encoders {
        if !has(&|kind| kind == *encoder) {
            found.problem(format!("no {encoder}; name another one as the recipe's text encoder"));
        }
    }
}

/// How many tensors there are of each number type.
fn dtypes(file: &WeightsFile) -> String {
    let mut counts = BTreeMap::new();
    for info in file.tensors().values() {
        *counts.entry(format!("{:?}", info.dtype)).or_insert(0) += 1;
    }
    counts.iter().map(|(dtype, n)| format!("{dtype} ({n} tensors)")).collect::<Vec<_>>().join(", ")
}

fn examples(file: &WeightsFile) -> String {
    let names: Vec<&str> = file.tensors().keys().map(String::as_str).take(3).collect();
    format!("{}: {}", file.tensors().len(), names.join(", "))
}

/// A guess at what it is instead.
fn unsupported(file: &WeightsFile) -> &'static str {
    let has = |part: &str| file.tensors().keys().any(|name| name.contains(part));
    if has("lora_down") || has("lora_A") || has("lora_up") {
        "it is a LoRA: a change to a model, not a model; merge it into its model first"
    } else if has("controlnet_cond_embedding") || has("input_hint_block") {
        "it is a ControlNet, which has no place here"
    } else if has("double_blocks") || has("joint_blocks") || has("transformer_blocks.0.ff_context") {
        "it is a diffusion transformer (SD3, Flux); the denoisers here are U-Nets"
    } else {
        "expected a U-Net, an autoencoder, a CLIP text encoder or a vision transformer"
    }
}

/// Whose terms are likely to hold: a hint, not advice.
fn licence(stated: Option<&str>, kind: Kind, turbo: bool) -> String {
    if let Some(stated) = stated {
        return stated.to_owned();
    }
    let hint = match (turbo, kind) {
        (true, _) => "Stability AI's licence of the turbo models, which limits commercial use",
        (false, Kind::Sd15) => "CreativeML Open RAIL-M for the original weights",
        (false, Kind::Sd21 | Kind::Sdxl) => {
            "CreativeML Open RAIL++-M for the original weights; a turbo model has Stability AI's own, which limits commercial use"
        }
        (false, _) => "see where it comes from",
    };
    format!("not stated; {hint}")
}
