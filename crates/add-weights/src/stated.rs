//! What a file says that its denoiser predicts, and on which schedule.
//!
//! Clients disagree on where that stands, so every place is looked at: the tensors `v_pred` and `ztsnr` of no values, by
//! which ComfyUI and stable-diffusion.cpp tell a v-prediction SDXL; `ModelSpec`'s metadata; this project's own.

use std::fmt;

use crate::{WeightsFile, names::ldm};

/// An empty tensor that says that the denoiser predicts `v`.
pub const V_PREDICTION: &str = "v_pred";
/// An empty tensor that says that the schedule ends at zero signal.
pub const ZERO_TERMINAL_SNR: &str = "ztsnr";

/// The projection of the guidance scale's embedding, in diffusers' names.
const GUIDANCE: &str = "time_embedding.cond_proj.weight";

/// What a denoiser predicts, in the words of `ModelSpec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatedPrediction {
    /// The noise.
    Epsilon,
    /// `alpha eps - sigma x_0`.
    V,
    /// The clean sample.
    Sample,
    /// The difference of noise and clean sample.
    Flow,
    /// Something that is not known here.
    Other(String),
}

impl StatedPrediction {
    /// Reads one of the spellings in use.
    pub fn parse(text: &str) -> Self {
        match text.to_lowercase().replace('-', "_").as_str() {
            "epsilon" | "eps" => Self::Epsilon,
            "v" | "v_prediction" | "v_pred" | "velocity" => Self::V,
            "sample" | "x0" | "x_0" => Self::Sample,
            "flow" | "flow_prediction" | "rectified_flow" => Self::Flow,
            _ => Self::Other(text.to_owned()),
        }
    }
}

impl fmt::Display for StatedPrediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epsilon => "epsilon",
            Self::V => "v",
            Self::Sample => "the clean sample",
            Self::Flow => "flow",
            Self::Other(text) => text,
        })
    }
}

/// What a file says, each with the place where it says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stated {
    /// What the denoiser predicts.
    pub prediction: Option<(StatedPrediction, &'static str)>,
    /// That the schedule ends at zero signal.
    pub zero_terminal_snr: Option<&'static str>,
    /// Width of the embedding of the guidance scale, where the denoiser is told that scale.
    pub guidance_embedding: Option<usize>,
}

impl Stated {
    /// What `file` says.
    pub fn of(file: &WeightsFile) -> Self {
        let has = |key: &str| {
            ["", ldm::UNET].iter().any(|prefix| file.tensors().contains_key(&format!("{prefix}{key}")))
        };
        let tensors = [
            (
                "edm_vpred.sigma_max",
                StatedPrediction::Other("v of EDM's formulation".to_owned()),
                "its tensor `edm_vpred.sigma_max`",
            ),
            (
                "edm_mean",
                StatedPrediction::Other("the clean sample of EDM's formulation".to_owned()),
                "its tensor `edm_mean`",
            ),
            (V_PREDICTION, StatedPrediction::V, "its tensor `v_pred`"),
        ];
        let metadata = ["modelspec.prediction_type", "modelspec.predict_key", "add.prediction"];
        let mut said =
            tensors.into_iter().filter(|(key, ..)| has(key)).map(|(_, prediction, at)| (prediction, at));
        let prediction = said.next().or_else(|| {
            metadata.iter().find_map(|key| Some((StatedPrediction::parse(file.metadata().get(*key)?), *key)))
        });
        let schedule = file.metadata().get("add.schedule");
        let zero = [
            (has(ZERO_TERMINAL_SNR), "its tensor `ztsnr`"),
            (schedule.is_some_and(|text| text.starts_with("ZeroTerminalSnr")), "add.schedule"),
        ];
        let zero_terminal_snr = zero.into_iter().find(|(said, _)| *said).map(|(_, at)| at);
        let projection = file.tensors().get(GUIDANCE).and_then(|info| info.shape.last().copied());
        Self { prediction, zero_terminal_snr, guidance_embedding: projection }
    }

    /// Refuses a denoiser that is told the guidance scale where the recipe's backbone is not.
    ///
    /// # Errors
    /// With what to say in the backbone.
    pub fn check_guidance(&self, backbone_takes_it: bool) -> Result<(), String> {
        match self.guidance_embedding {
            Some(width) if !backbone_takes_it => Err(format!(
                "it is told the guidance scale, as latent consistency models are, and the recipe's backbone is not; say \
                 `guidance_embedding: {width}` in the backbone"
            )),
            _ => Ok(()),
        }
    }
}
