//! Which sampler plugin is a library's scheduler under its options.

use std::num::NonZeroUsize;

use add_plugin::{NoiseSchedule, Prediction, Sampler};
use samplers::{Ddim, DpmSolver2M, Euler, EulerAncestral, Landing, Lcm, Sigmas, Spacing};
use serde_json::{Value, json};

use super::option;
use crate::{Fixture, ParityError, tables::Betas};

/// How the library's `x` relates to `x_t = alpha_t x_0 + sigma_t eps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// It is `x_t`.
    VariancePreserving,
    /// It is `x_t / alpha_t`.
    VarianceExploding,
}

/// How to repeat a trajectory.
pub(super) struct Plan {
    pub(super) sampler: Box<dyn Sampler>,
    pub(super) prediction: Prediction,
    pub(super) schedule: NoiseSchedule,
    pub(super) space: Space,
    /// The noise levels are those of the timesteps.
    pub(super) levels_at_timesteps: bool,
    /// Tolerance of each state, in f64: the library keeps noise levels in f32 even then, except for DDIM.
    pub(super) tolerance: f64,
}

/// The betas of a trajectory.
pub(super) fn betas(facts: &Value) -> Result<Betas, ParityError> {
    let number = |field: &str| {
        let value = option(facts, field);
        value.as_f64().ok_or_else(|| ParityError::content(field, "a number", value))
    };
    Ok(Betas {
        steps: number("num_train_timesteps")? as usize,
        start: number("beta_start")?,
        end: number("beta_end")?,
    })
}

/// The plan of a trajectory, or the reason why no plugin is it.
pub(super) fn plan(
    name: &str,
    facts: &Value,
    fixture: &Fixture,
) -> Result<Result<Plan, String>, ParityError> {
    let scheduler = facts["scheduler"].as_str().unwrap_or_default();
    if let Some(reason) = unsupported(scheduler, facts) {
        return Ok(Err(reason));
    }
    let timesteps = fixture.numbers(&format!("{name}.timesteps"))?.values;
    if timesteps.iter().any(|t| t.fract() != 0.0) {
        return Ok(Err("it asks between two timesteps; the plugins ask at whole ones".to_owned()));
    }
    if scheduler == "DDIMScheduler" && strays(&timesteps, facts)? {
        return Ok(Err("it steps to t - T / n, which is not the next of its own timesteps".to_owned()));
    }
    let spacing = spacing(facts)?;
    let sampler: Box<dyn Sampler> = match scheduler {
        "DDIMScheduler" => Box::new(Ddim {
            eta: facts["step_kwargs"]["eta"].as_f64().unwrap_or(0.0),
            spacing,
            landing: if option(facts, "set_alpha_to_one") == &json!(true) {
                Landing::Clean
            } else {
                Landing::FirstTimestep
            },
        }),
        "EulerDiscreteScheduler" => Box::new(Euler { spacing }),
        "EulerAncestralDiscreteScheduler" => Box::new(EulerAncestral { spacing }),
        "LCMScheduler" => {
            let original = option(facts, "original_inference_steps");
            let wrong = || ParityError::content("original_inference_steps", "a positive number", original);
            let original = original.as_u64().and_then(|n| NonZeroUsize::new(n as usize)).ok_or_else(wrong)?;
            let scaling = option(facts, "timestep_scaling").as_f64().unwrap_or(10.0);
            Box::new(Lcm { original_steps: original, timestep_scaling: scaling })
        }
        _ => Box::new(DpmSolver2M {
            spacing,
            sigmas: if karras(facts) { Sigmas::Karras } else { Sigmas::Timesteps },
        }),
    };
    let rescaled = option(facts, "rescale_betas_zero_snr") == &json!(true);
    let by_sigma = scheduler.starts_with("Euler");
    let infinite = by_sigma || scheduler.starts_with("DPM");
    let table = match (rescaled, infinite) {
        (false, _) => "tables.alphas_cumprod",
        (true, false) => "tables.alphas_cumprod_zsnr",
        // A ratio of noise to signal must stay finite.
        (true, true) => "tables.alphas_cumprod_zsnr_euler",
    };
    let alphas_cumprod = fixture.numbers(table)?.values;
    if alphas_cumprod.is_empty() || !alphas_cumprod.iter().all(|a| (0.0..=1.0).contains(a)) {
        return Err(ParityError::content(table, "numbers from 0 to 1", "others"));
    }
    Ok(Ok(Plan {
        sampler,
        prediction: prediction(facts)?,
        schedule: NoiseSchedule::from_alphas_cumprod(&alphas_cumprod),
        space: if by_sigma { Space::VarianceExploding } else { Space::VariancePreserving },
        levels_at_timesteps: !karras(facts),
        tolerance: match (scheduler, rescaled) {
            ("DDIMScheduler", _) => 1e-10,
            // These samples start at 4096 times the noise, so the f32 levels cost more.
            (_, true) if by_sigma => 1e-4,
            _ => 2e-6,
        },
    }))
}

/// The options that the plugins have in one way only, each with the values that mean this way.
fn unsupported(scheduler: &str, facts: &Value) -> Option<String> {
    let no = json!(false);
    let common = [
        ("beta_schedule", json!("scaled_linear")),
        ("thresholding", no.clone()),
        ("clip_sample", no.clone()),
    ];
    let levels = [
        ("use_exponential_sigmas", no.clone()),
        ("use_beta_sigmas", no.clone()),
        ("final_sigmas_type", json!("zero")),
    ];
    let own: &[(&str, Value)] = match scheduler {
        "DDIMScheduler" | "EulerAncestralDiscreteScheduler" => &[],
        "LCMScheduler" => &[("set_alpha_to_one", json!(true))],
        "EulerDiscreteScheduler" => {
            &[("use_karras_sigmas", no.clone()), ("interpolation_type", json!("linear"))]
        }
        "DPMSolverMultistepScheduler" => &[
            ("algorithm_type", json!("dpmsolver++")),
            ("solver_type", json!("midpoint")),
            ("solver_order", json!(2)),
            ("euler_at_final", no.clone()),
            ("use_lu_lambdas", no.clone()),
            ("use_flow_sigmas", no.clone()),
        ],
        _ => return Some(format!("no plugin is {scheduler}")),
    };
    let all = common.iter().chain(own).chain(&levels);
    let other = all.map(|(field, only)| (field, only, option(facts, field)));
    let other = other.clone().find(|(_, only, value)| !value.is_null() && value != only);
    if let Some((field, only, value)) = other {
        return Some(format!("{field} is {value}; the plugin has {only} only"));
    }
    let offset = option(facts, "steps_offset");
    if option(facts, "timestep_spacing") == "leading" && scheduler != "LCMScheduler" && offset != &json!(1) {
        return Some(format!("steps_offset is {offset}; the plugins have 1 only"));
    }
    let arguments = facts["step_kwargs"].as_object().into_iter().flatten();
    let unknown = |(name, _): &(&String, &Value)| !(scheduler == "DDIMScheduler" && *name == "eta");
    arguments.into_iter().find(unknown).map(|(name, _)| format!("its step takes {name}, no plugin does"))
}

/// Whether DDIM goes elsewhere than to the next of its timesteps.
#[expect(clippy::float_cmp, reason = "timesteps and strides are whole numbers")]
fn strays(timesteps: &[f64], facts: &Value) -> Result<bool, ParityError> {
    let stride = (betas(facts)?.steps / timesteps.len().max(1)) as f64;
    let inside = timesteps.windows(2).any(|pair| pair[0] - stride != pair[1]);
    Ok(inside || timesteps.last().is_some_and(|last| last - stride >= 0.0))
}

fn karras(facts: &Value) -> bool {
    option(facts, "use_karras_sigmas") == &json!(true)
}

fn spacing(facts: &Value) -> Result<Spacing, ParityError> {
    let value = option(facts, "timestep_spacing");
    match value.as_str() {
        Some("trailing") => Ok(Spacing::Trailing),
        Some("leading") => Ok(Spacing::Leading),
        Some("linspace") => Ok(Spacing::Linspace),
        _ => Err(ParityError::content("timestep_spacing", "trailing, leading or linspace", value)),
    }
}

fn prediction(facts: &Value) -> Result<Prediction, ParityError> {
    let value = option(facts, "prediction_type");
    match value.as_str() {
        Some("epsilon") => Ok(Prediction::Epsilon),
        Some("v_prediction") => Ok(Prediction::V),
        Some("sample") => Ok(Prediction::X0),
        Some("flow_prediction") => Ok(Prediction::Flow),
        _ => Err(ParityError::content(
            "prediction_type",
            "epsilon, v_prediction, sample or flow_prediction",
            value,
        )),
    }
}
