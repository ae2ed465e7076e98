//! All networks in one file, under the names of Stable Diffusion's own training code.
//!
//! Such a file has no place for a scheduler. What its clients look at instead is written: `ModelSpec`'s metadata, the empty
//! tensors `v_pred` and `ztsnr`, and, for a model that does not predict noise, the configuration of the original code beside
//! it, `NAME.yaml`. A model that none of them can describe is refused.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use add_plugin::{Component, Content, Fields, Prediction, SingleFile};
use add_recipe::Recipe;
use add_weights::{
    NamedTensor, Precision, Source, arrange,
    names::{self, ldm},
    save,
    stated::{V_PREDICTION, ZERO_TERMINAL_SNR},
    write_data,
};
use burn::tensor::{Device, Tensor};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Exported, under, write_text};
use crate::{device, error::CoreError, weights::ends_at_zero};

/// The version of `ModelSpec`.
pub(super) const MODEL_SPEC: &str = "1.0.1";
/// `beta_start` and `beta_end` of every client's schedule for these files.
const BETAS: [f64; 2] = [0.00085, 0.012];
/// Timesteps of that schedule.
const TIMESTEPS: u64 = 1000;

/// Refuses a model that a single file cannot describe: its clients would sample it wrongly without a word.
pub(super) fn check(recipe: &Recipe) -> Result<(), CoreError> {
    let model = &recipe.model;
    let prediction = model.backbone.info().prediction;
    if !matches!(prediction, Prediction::Epsilon | Prediction::V) {
        return Err(CoreError::Request(format!(
            "no client of single files knows a model of these shapes that predicts {prediction:?}; expected Epsilon or V, or \
             export it with --format diffusers"
        )));
    }
    let fields = model.schedule.scheduler_fields();
    let number = |field: &str| fields.get(field).and_then(Value::as_f64);
    let usual = fields.get("beta_schedule").is_some_and(|schedule| schedule == "scaled_linear")
        && fields.get("num_train_timesteps").and_then(Value::as_u64) == Some(TIMESTEPS)
        && ["beta_start", "beta_end"]
            .iter()
            .zip(BETAS)
            .all(|(field, beta)| number(field).is_some_and(|found| (found - beta).abs() < 1e-9));
    if usual {
        return Ok(());
    }
    Err(CoreError::Request(format!(
        "clients of single files sample on ScaledLinear() of 1000 steps or on its ZeroTerminalSnr, not on {}; export it with \
         --format diffusers",
        model.schedule.name()
    )))
}

impl Exported<'_> {
    pub(super) fn write_single_file(
        &self,
        out: &Path,
        precision: Precision,
    ) -> Result<Vec<PathBuf>, CoreError> {
        let mut tensors = BTreeMap::new();
        for (component, network) in self.networks() {
            let Content::Network { config, prefix } = &component.content else { continue };
            let (place, source) = single_file_names(component, config, self.names.pipeline.single_file)?;
            let arranged = arrange(under(network, prefix), &*source);
            tensors.extend(arranged.into_iter().map(|(name, mut tensor)| {
                // There the autoencoder's attention is made of 1x1 convolutions.
                if name.contains(".attn_1.") && tensor.shape.len() == 2 {
                    tensor.shape.extend([1, 1]);
                }
                (format!("{place}{name}"), tensor)
            }));
        }
        tensors.extend(self.markers(&device::of(self.recipe)?));
        let mut digest = Sha256::new();
        write_data(&mut digest, &tensors, precision).map_err(CoreError::io(out))?;
        let sha256 = hex::encode(digest.finalize());
        let file = PathBuf::from(format!("{}.safetensors", self.recipe.name));
        save(&out.join(&file), &tensors, precision, &self.model_spec(&sha256))?;
        let mut files = vec![file];
        if self.prediction() == Prediction::V {
            files.push(write_text(out, &format!("{}.yaml", self.recipe.name), &self.original_config())?);
        }
        Ok(files)
    }

    fn prediction(&self) -> Prediction {
        self.recipe.model.backbone.info().prediction
    }

    /// Empty tensors that say what the denoiser predicts, and on which schedule.
    fn markers(&self, device: &Device) -> Vec<(String, NamedTensor)> {
        let empty = || NamedTensor { shape: vec![0], values: Tensor::zeros([0], device) };
        let said = [
            (V_PREDICTION, self.prediction() == Prediction::V),
            (ZERO_TERMINAL_SNR, ends_at_zero(&self.recipe.model)),
        ];
        said.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| (name.to_owned(), empty())).collect()
    }

    /// The configuration of the original code, for clients that read one beside the file.
    fn original_config(&self) -> String {
        let (text, v) = match self.names.pipeline.single_file {
            SingleFile::Sd1 => (include_str!("yaml/v1.yaml"), "v"),
            SingleFile::Sd2 => (include_str!("yaml/v2.yaml"), "v"),
            SingleFile::Sdxl => (include_str!("yaml/sdxl.yaml"), "VScaling"),
        };
        let side = self.recipe.data.size() / self.recipe.codec.info().reduction;
        text.replace("{prediction}", v).replace("{side}", &side.to_string())
    }

    /// `ModelSpec`'s metadata, with this project's own behind it.
    fn model_spec(&self, sha256: &str) -> BTreeMap<String, String> {
        let Recipe { name, data, .. } = self.recipe;
        let size = data.size();
        let spec = [
            ("sai_model_spec", MODEL_SPEC.to_owned()),
            ("architecture", architecture(self.names.pipeline.single_file, self.prediction()).to_owned()),
            ("implementation", "https://github.com/Stability-AI/generative-models".to_owned()),
            ("title", name.clone()),
            ("description", self.origin()),
            ("usage_hint", self.usage_hint()),
            ("resolution", format!("{size}x{size}")),
            ("prediction_type", prediction_type(self.prediction()).to_owned()),
            ("hash_sha256", format!("0x{sha256}")),
        ];
        let spec = spec.map(|(field, value)| (format!("modelspec.{field}"), value));
        self.card.fields().clone().into_iter().chain(spec).collect()
    }
}

/// `ModelSpec`'s name of an architecture.
pub(super) fn architecture(layout: SingleFile, prediction: Prediction) -> &'static str {
    match layout {
        SingleFile::Sd1 => "stable-diffusion-v1",
        SingleFile::Sd2 if prediction == Prediction::V => "stable-diffusion-v2-768-v",
        SingleFile::Sd2 => "stable-diffusion-v2-512",
        SingleFile::Sdxl => "stable-diffusion-xl-v1-base",
    }
}

/// `ModelSpec`'s name of what a model predicts.
pub(super) fn prediction_type(prediction: Prediction) -> &'static str {
    match prediction {
        Prediction::V => "v",
        Prediction::Epsilon => "epsilon",
        Prediction::X0 => "x0",
        Prediction::Flow => "flow",
    }
}

/// From a component's names to those behind a prefix of a single file.
type SingleFileNames = (&'static str, Box<dyn Fn(&str) -> Source>);

fn single_file_names(
    component: &Component,
    config: &Fields,
    layout: SingleFile,
) -> Result<SingleFileNames, CoreError> {
    let config = Value::Object(config.clone());
    let unknown = |why: &dyn std::fmt::Display| {
        CoreError::Request(format!(
            "{}: no place in a single file of Stable Diffusion: {why}",
            component.class
        ))
    };
    let whole = |name: &str| Source::Whole(name.to_owned());
    Ok(match (component.class, component.folder, layout) {
        ("UNet2DConditionModel", ..) => {
            (ldm::UNET, Box::new(ldm::unet_of(config).map_err(|error| unknown(&error))?))
        }
        ("AutoencoderKL", ..) => {
            (ldm::AUTOENCODER, Box::new(ldm::autoencoder_kl_of(config).map_err(|error| unknown(&error))?))
        }
        (_, "text_encoder", SingleFile::Sd1) => (ldm::TEXT_SD1, Box::new(whole)),
        (_, "text_encoder", SingleFile::Sd2) => (ldm::TEXT_SD2, Box::new(names::open_clip_text)),
        (_, "text_encoder", SingleFile::Sdxl) => (ldm::TEXT_SDXL_1, Box::new(whole)),
        (_, "text_encoder_2", SingleFile::Sdxl) => (ldm::TEXT_SDXL_2, Box::new(names::open_clip_text)),
        _ => return Err(unknown(&component.folder)),
    })
}
