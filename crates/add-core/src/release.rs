//! From a released Stable Diffusion model to the recipe that samples it.
//!
//! The denoiser's cross-attention tells which of the three architectures it is; what else differs between releases is read
//! from the JSON files of diffusers' folders, where there are some.

use std::path::Path;

use add_weights::{
    Location, Progress, WeightsFile,
    stated::{Stated, StatedPrediction},
};
use serde_json::Value;

use crate::{
    error::CoreError,
    read::{self, LoadedRecipe},
};

/// The denoiser's file in a diffusers pipeline.
const UNET: &str = "unet/diffusion_pytorch_model.safetensors";
/// Ends the names of the denoiser's cross-attention keys `[C, width of a token's state]`, under diffusers' names and in
/// single files.
const KEYS: &str = "attn2.to_k.weight";
/// Largest JSON file that is looked at, in bytes.
const MAX_JSON: u64 = 1 << 20;

/// An architecture of Stable Diffusion.
struct Architecture {
    backbone: &'static str,
    /// Width of the token states that it attends to.
    width: usize,
    text: &'static str,
    /// The folder of its text encoder; SDXL's looks for its two itself.
    text_folder: &'static str,
    scaling_factor: f64,
    /// Side of the pictures that the first release makes.
    side: u64,
    /// Guidance scale of the authors' examples.
    guidance: f64,
}

const ARCHITECTURES: [Architecture; 3] = [
    Architecture {
        backbone: "Sd15",
        width: 768,
        text: "ClipL",
        text_folder: "text_encoder",
        scaling_factor: 0.18215,
        side: 512,
        guidance: 7.5,
    },
    Architecture {
        backbone: "Sd21",
        width: 1024,
        text: "OpenClipH",
        text_folder: "text_encoder",
        scaling_factor: 0.18215,
        side: 512,
        guidance: 7.5,
    },
    Architecture {
        backbone: "Sdxl",
        width: 2048,
        text: "ClipLBigG",
        text_folder: "",
        scaling_factor: 0.13025,
        side: 1024,
        guidance: 5.0,
    },
];

/// What releases of one architecture differ in.
#[derive(Debug, Clone, PartialEq)]
struct Release {
    prediction: &'static str,
    /// Whether its schedule ends at zero signal.
    zero_terminal_snr: bool,
    side: u64,
    /// Whether it makes pictures in one to four steps without guidance.
    distilled: bool,
}

/// The recipe of a diffusers pipeline. What is looked at is fetched.
///
/// # Errors
/// When its denoiser is missing, cannot be fetched, or is of another kind.
pub fn of_pipeline(place: &Location, progress: &mut dyn Progress) -> Result<LoadedRecipe, CoreError> {
    let unet = place.join(UNET).fetch(progress)?;
    let architecture = architecture(&WeightsFile::open(&unet)?)?;
    let mut json = |name: &str| -> Value {
        // A pipeline without one has the defaults.
        let path = place.join(name).fetch(progress).ok();
        let text = path.and_then(|path| add_files::read_text(&path, MAX_JSON).ok());
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    };
    let (scheduler, unet) = (json("scheduler/scheduler_config.json"), json("unet/config.json"));
    let release = Release {
        prediction: prediction(&scheduler),
        zero_terminal_snr: scheduler["rescale_betas_zero_snr"] == Value::Bool(true),
        side: unet["sample_size"].as_u64().map_or(architecture.side, |latents| latents.saturating_mul(8)),
        distilled: scheduler["timestep_spacing"] == "trailing",
    };
    let text_place = match architecture.text_folder {
        "" => place.clone(),
        folder => place.join(folder),
    };
    recipe(architecture, &release, "Diffusers", [place, &place.join("vae"), &text_place])
}

/// The recipe of a single file. It predicts noise unless the file says otherwise; nothing in it says how it is sampled, and
/// a name with `turbo` is a distilled model's.
///
/// # Errors
/// When the file is missing, is damaged, or holds another kind of model.
pub fn of_single_file(path: &Path) -> Result<LoadedRecipe, CoreError> {
    let file = WeightsFile::open(path)?;
    let architecture = architecture(&file)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let distilled = name.contains("turbo");
    let side = if distilled { 512 } else { architecture.side };
    let place = Location::Local(path.to_path_buf());
    let stated = Stated::of(&file);
    let prediction = match stated.prediction {
        Some((StatedPrediction::V, _)) => "V",
        Some((StatedPrediction::Sample, _)) => "X0",
        // What is not known here is refused with the file's own words when it is loaded.
        _ => "Epsilon",
    };
    let zero_terminal_snr = stated.zero_terminal_snr.is_some();
    let release = Release { prediction, zero_terminal_snr, side, distilled };
    recipe(architecture, &release, "Ldm", [&place, &place, &place])
}

/// What the cross-attention of a file's denoiser says.
fn architecture(file: &WeightsFile) -> Result<&'static Architecture, CoreError> {
    let refuse = |problem: String| Err(CoreError::Weights { path: file.path().to_path_buf(), problem });
    let keys = file.tensors().iter().find(|(name, _)| name.ends_with(KEYS));
    let Some((name, tensor)) = keys else {
        return refuse("expected a denoiser of Stable Diffusion, found no cross-attention".to_owned());
    };
    let width = tensor.shape.last().copied().unwrap_or_default();
    let known = ARCHITECTURES.iter().find(|architecture| architecture.width == width);
    known.map_or_else(
        || {
            let widths = ARCHITECTURES.map(|architecture| architecture.width.to_string()).join(", ");
            refuse(format!("{name} attends to token states of width {width}, expected one of {widths}"))
        },
        Ok,
    )
}

/// What a scheduler's file says that its model predicts; noise unless stated, as in diffusers.
fn prediction(scheduler: &Value) -> &'static str {
    match scheduler["prediction_type"].as_str() {
        Some("v_prediction") => "V",
        Some("sample") => "X0",
        _ => "Epsilon",
    }
}

/// The recipe, with weights of denoiser, codec and text encoder at `places`.
fn recipe(
    architecture: &Architecture,
    release: &Release,
    naming: &str,
    places: [&Location; 3],
) -> Result<LoadedRecipe, CoreError> {
    let Architecture { backbone, text, scaling_factor, guidance, .. } = architecture;
    let Release { prediction, zero_terminal_snr, side, distilled } = release;
    let schedule =
        if *zero_terminal_snr { "ZeroTerminalSnr(inner: ScaledLinear())" } else { "ScaledLinear()" };
    let sampling = match (distilled, *backbone) {
        (true, "Sdxl") => "sampler: EulerAncestral(spacing: Trailing), steps: 1".to_owned(),
        (true, _) => "sampler: Euler(spacing: Trailing), steps: 1".to_owned(),
        (false, _) => format!("sampler: DpmSolver2M(), steps: 25, guidance: {guidance:?}"),
    };
    let [model_place, codec_place, text_place] = places.map(quoted);
    let text = format!(
        "(name: \"{}\", data: Off(size: {side}), codec: KlVae(weights: {codec_place}, scaling_factor: {scaling_factor}), \
         text: {text}(weights: {text_place}), model: (backbone: {backbone}(prediction: {prediction}), schedule: \
         {schedule}, weights: {naming}({model_place})), objective: Off(), sampling: ({sampling}))",
        backbone.to_lowercase()
    );
    let recipe = read::parse(&text, "the recipe of this model")?;
    Ok(LoadedRecipe { recipe, path: std::path::PathBuf::new() })
}

/// A place as a RON string.
fn quoted(place: &Location) -> String {
    ron::to_string(&place.to_string()).unwrap_or_default()
}
