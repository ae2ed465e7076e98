//! What a file or folder of weights is: architecture, naming, number types, prediction type, what is missing, whose licence.
//!
//! It is read off names, shapes and the small JSON files beside them; no value is looked at.

mod instead;
mod lora;
mod networks;
mod pipeline;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, path::Path};

pub use instead::instead;
pub use networks::{Kind, NetworkReport};
use safetensors::Dtype;

use crate::{
    WeightsFile,
    error::WeightsError,
    lora::LoraFile,
    names::is_unused,
    stated::{Stated, StatedPrediction},
};

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
    if file.tensors().is_empty() {
        found.is = String::from("a file without tensors");
        found.problem("expected tensors, found none");
        return found;
    }
    if file.metadata().contains_key("add.format") && is_own(file) {
        found.is = String::from("a model of this project");
        for (key, value) in file.metadata() {
            found.fact(key.trim_start_matches("add."), value.as_str());
        }
        found.fact("dtype", dtypes(file));
        found.fact("use", "sample RECIPE --weights FILE, or `model: (weights: File(\"...\"))`");
        return found;
    }
    if LoraFile::is_one(file) {
        lora::tell(file, &mut found);
        return found;
    }
    if let Some(what) = instead(file) {
        found.is = String::from("a file that is no model of its own");
        found.fact("dtype", dtypes(file));
        found.fact("tensors", examples(file));
        found.problem(what);
        return found;
    }
    let networks = networks::find(file);
    found.fact("dtype", dtypes(file));
    for network in &networks {
        network.tell(&mut found);
    }
    if let Some(problem) = unread_types(file).filter(|_| !networks.is_empty()) {
        found.problem(problem);
    }
    if let Some(recipe) = file.metadata().get("add.recipe") {
        found.fact("made by", format!("this project, from the recipe {recipe}"));
    }
    let denoiser = networks.iter().find(|network| network.kind.is_denoiser());
    match (networks.as_slice(), denoiser) {
        ([], _) => {
            found.is = String::from("a file of tensors in no naming that is known here");
            found.fact("tensors", examples(file));
            found.problem("expected a U-Net, an autoencoder, a CLIP text encoder or a vision transformer");
        }
        ([one], _) => found.is = format!("{}, in the names of {}", one.kind, one.naming),
        (_, Some(denoiser)) => {
            found.is = format!("a single file of {}", denoiser.kind);
            complete(&mut found, &networks, denoiser.kind);
        }
        (_, None) => found.is = String::from("several networks without a denoiser"),
    }
    if let Some(kind) = denoiser.map(|network| network.kind) {
        let stated = Stated::of(file);
        match &stated.prediction {
            Some((prediction, place)) => {
                let say = match prediction {
                    StatedPrediction::Epsilon => "",
                    StatedPrediction::V => "; say `prediction: V` in the backbone",
                    StatedPrediction::Sample => "; say `prediction: X0` in the backbone",
                    StatedPrediction::Flow => "; say `prediction: Flow` in the backbone",
                    StatedPrediction::Other(_) => {
                        found.problem(format!("it predicts {prediction}, which no backbone here does"));
                        ""
                    }
                };
                found.fact("prediction", format!("{prediction}, as {place} says{say}"));
            }
            None if kind == Kind::Sd21 => found.fact(
                "prediction",
                "not stated; the 512-pixel base and SD-Turbo predict epsilon, the 768-pixel model v",
            ),
            None => found.fact("prediction", "not stated; epsilon in all releases of this shape"),
        }
        if let Some(place) = stated.zero_terminal_snr {
            let say = "say `schedule: ZeroTerminalSnr(inner: ScaledLinear())`";
            found.fact("schedule", format!("zero terminal SNR, as {place} says; {say}"));
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

/// Which U-Net a file holds, if it holds one.
pub(crate) fn unet_kind(file: &WeightsFile) -> Option<Kind> {
    networks::find(file).into_iter().map(|network| network.kind).find(|kind| kind.is_denoiser())
}

/// Whether its tensors are a model file's of this project, and not an export's.
fn is_own(file: &WeightsFile) -> bool {
    file.tensors().keys().any(|name| name.starts_with("denoiser.") || name.starts_with("text."))
}

/// Tensors of a network in number types that are not read here.
fn unread_types(file: &WeightsFile) -> Option<String> {
    let read = [Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64];
    let (name, info) = file
        .tensors()
        .iter()
        .find(|(name, info)| !read.contains(&info.dtype) && !is_unused(name) && info.shape.len() > 1)?;
    Some(format!(
        "`{name}` is stored as {:?}, which is not read here; expected F16, BF16, F32 or F64",
        info.dtype
    ))
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
