//! What a released model says that it predicts, and on which schedule, against what the recipe says.

use std::path::Path;

use add_plugin::Prediction;
use add_recipe::Model;
use add_weights::{
    WeightsFile,
    stated::{Stated, StatedPrediction},
};
use serde::Deserialize;

use super::{MAX_CONFIG, SCHEDULER, pipeline, released};
use crate::error::CoreError;

/// Below this a schedule's last `alpha` is zero; Stable Diffusion's is 0.068.
const ZERO: f64 = 1e-4;

/// Refuses a model whose scheduler or file says that it predicts something else than the recipe says, or that its schedule
/// ends at zero signal where the recipe's does not: it would be sampled and trained without an error, to noise. And one that is
/// told the guidance scale where the recipe's is not.
pub(crate) fn check_prediction(model: &Model) -> Result<(), CoreError> {
    if let Some(path) = pipeline(model).and_then(|folder| folder.join(SCHEDULER).cached())
        && let Some(says) = Says::of_scheduler(&path)
    {
        says.check(model).map_err(|problem| CoreError::Weights { path, problem })?;
    }
    let Some((_, location)) = released(model) else { return Ok(()) };
    let Some(path) = location.cached() else { return Ok(()) };
    let stated = Stated::of(&WeightsFile::open(&path)?);
    let checked = Says::of_file(&stated).check(model);
    let checked = checked.and_then(|()| stated.check_guidance(model.backbone.takes_guidance()));
    checked.map_err(|problem| CoreError::Weights { path, problem })
}

/// What is said of a model.
#[derive(Debug, Default, PartialEq)]
struct Says {
    /// What it predicts; an error where nothing here does, with its name.
    prediction: Option<Result<Prediction, String>>,
    zero_terminal_snr: bool,
    /// Where that is said.
    whose: String,
}

impl Says {
    fn of_file(stated: &Stated) -> Self {
        let prediction = stated.prediction.as_ref().map(|(prediction, _)| known(prediction));
        let place = stated.prediction.as_ref().map(|(_, place)| *place).or(stated.zero_terminal_snr);
        Self {
            prediction,
            zero_terminal_snr: stated.zero_terminal_snr.is_some(),
            whose: format!("this file's model, as {} says,", place.unwrap_or("it")),
        }
    }

    /// What a `scheduler_config.json` says; nothing when it is not to be read.
    fn of_scheduler(path: &Path) -> Option<Self> {
        #[derive(Deserialize)]
        struct Scheduler {
            #[serde(default)]
            prediction_type: Option<String>,
            #[serde(default, rename = "_class_name")]
            class: Option<String>,
            #[serde(default)]
            rescale_betas_zero_snr: bool,
        }
        let scheduler: Scheduler = serde_json::from_slice(&add_files::read(path, MAX_CONFIG).ok()?).ok()?;
        // The defaults of diffusers' schedulers; those of rectified flow know one prediction and do not name it.
        let flow = scheduler.class.is_some_and(|class| class.starts_with("FlowMatch"));
        let default = if flow { "flow_prediction" } else { "epsilon" };
        let said = scheduler.prediction_type.as_deref().unwrap_or(default);
        Some(Self {
            prediction: Some(known(&StatedPrediction::parse(said))),
            zero_terminal_snr: scheduler.rescale_betas_zero_snr,
            whose: "this scheduler's model".to_owned(),
        })
    }

    fn check(&self, model: &Model) -> Result<(), String> {
        let Self { prediction, zero_terminal_snr, whose } = self;
        let expected = model.backbone.info().prediction;
        match prediction {
            Some(Ok(found)) if *found != expected => Err(format!(
                "{whose} predicts {found:?}, the recipe's {expected:?}; say `backbone: {}(prediction: {found:?})`",
                model.backbone.name()
            )),
            Some(Err(found)) => Err(format!(
                "{whose} predicts {found}, which is not known here; expected epsilon, v, the clean sample or flow"
            )),
            _ if *zero_terminal_snr && !ends_at_zero(model) => Err(format!(
                "{whose} was trained on a schedule of zero terminal SNR, the recipe's is {}; say `schedule: \
                 ZeroTerminalSnr(inner: ScaledLinear())`",
                model.schedule.name()
            )),
            _ => Ok(()),
        }
    }
}

fn known(prediction: &StatedPrediction) -> Result<Prediction, String> {
    match prediction {
        StatedPrediction::Epsilon => Ok(Prediction::Epsilon),
        StatedPrediction::V => Ok(Prediction::V),
        StatedPrediction::Sample => Ok(Prediction::X0),
        StatedPrediction::Flow => Ok(Prediction::Flow),
        StatedPrediction::Other(name) => Err(name.clone()),
    }
}

/// Whether nothing of the signal is left at the last timestep.
pub(crate) fn ends_at_zero(model: &Model) -> bool {
    let tables = model.schedule.tables();
    tables.alpha((tables.steps() - 1) as f64) < ZERO
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_scheduler_says_what_its_model_predicts() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("scheduler_config.json");
        let says = |text: &str| {
            fs::write(&path, text).expect("written");
            Says::of_scheduler(&path)
        };
        for (text, expected) in [
            (r#"{"prediction_type": "v_prediction", "beta_start": 0.00085}"#, Prediction::V),
            (r#"{"prediction_type": "epsilon"}"#, Prediction::Epsilon),
            ("{}", Prediction::Epsilon),
            (r#"{"prediction_type": "flow_prediction"}"#, Prediction::Flow),
            (r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}"#, Prediction::Flow),
        ] {
            assert_eq!(says(text).expect(text).prediction, Some(Ok(expected)), "{text}");
        }
        let other = says(r#"{"prediction_type": "score"}"#).expect("read").prediction;
        assert_eq!(other, Some(Err("score".to_owned())));
        assert!(says(r#"{"rescale_betas_zero_snr": true}"#).expect("read").zero_terminal_snr);
        assert_eq!(says("no JSON"), None);
        assert_eq!(Says::of_scheduler(Path::new("no/such/file")), None);
    }
}
