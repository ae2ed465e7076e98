//! Family `sched`: noise schedules and samplers against diffusers' schedulers on a toy denoiser
//! `tanh(a x + b t / 1000)`.
//!
//! `tables.*` are betas and `alpha_bar` as the library makes them in f32, `_f64` the same in f64, `_zsnr` rescaled to
//! zero terminal SNR, of which `_euler` has 2^-24 instead of 0 at the end. `fwd.*` is forward diffusion at `fwd.t`.
//! Each other prefix is a trajectory (`trajectory.rs`), whose scheduler and options `<name>.json` names
//! (`plan.rs` finds the plugin that is it, or says why there is none).

mod plan;
mod trajectory;

use add_loss::{diffuse, v};
use add_plugin::{NoiseSchedule, Prediction, Timesteps};
use serde_json::Value;

use crate::{
    Fixture, ParityError, ParityRow,
    row::{Comparison, Tolerance},
    tables::Betas,
};

/// Tables that the library keeps in f32.
const SINGLE: Tolerance = Tolerance::Rounding(0.0);
/// Betas from `alpha_bar` in f32: at the end of a rescaled schedule they are ratios of small numbers.
const SINGLE_RATIO: Tolerance = Tolerance::Relative { part: 2e-5, floor: 0.0 };
const DOUBLE: Tolerance = Tolerance::Relative { part: 1e-12, floor: 0.0 };

pub(crate) fn run(fixture: &Fixture) -> Result<Vec<ParityRow>, ParityError> {
    let mut rows = Comparison::new(fixture);
    let facts = &fixture.facts()["trajectories"];
    let Some(facts) = facts.as_object() else {
        return Err(ParityError::content("trajectories", "the trajectories by name", facts));
    };
    let betas = facts.values().next().map_or(Ok(Betas::STABLE_DIFFUSION), plan::betas)?;
    compare_tables(fixture, &mut rows, betas)?;
    for (name, facts) in facts {
        match plan::plan(name, facts, fixture)? {
            Ok(plan) => trajectory::compare(fixture, &mut rows, name, facts, &plan)?,
            Err(reason) => {
                let prefix = format!("{name}.");
                for what in fixture.keys(&prefix) {
                    rows.skip(&format!("{prefix}{what}"), &reason);
                }
            }
        }
    }
    let linear =
        |key: &str| (key == "tables.alphas_cumprod_linear").then(|| "no plugin has linear betas".into());
    Ok(rows.finish(linear))
}

fn compare_tables(fixture: &Fixture, rows: &mut Comparison, betas: Betas) -> Result<(), ParityError> {
    let mut check = |key: &str, got: &[f64], tolerance| {
        if fixture.has(key) {
            rows.check_values(key, got, tolerance);
        }
    };
    let (plain, rescaled) = (betas.alphas_cumprod()?, betas.with_zero_terminal_snr()?);
    for (alphas_cumprod, suffix) in [(&plain, ""), (&rescaled, "_zsnr")] {
        let betas = betas_of(alphas_cumprod);
        check(&format!("tables.alphas_cumprod{suffix}"), alphas_cumprod, SINGLE);
        check(&format!("tables.alphas_cumprod{suffix}_f64"), alphas_cumprod, DOUBLE);
        check(&format!("tables.betas{suffix}"), &betas, SINGLE_RATIO);
        check(&format!("tables.betas{suffix}_f64"), &betas, DOUBLE);
    }
    check("tables.alphas_cumprod_zsnr_euler", &rescaled, SINGLE);
    if !fixture.has("fwd.t") {
        return Ok(());
    }
    let t = fixture.indices("fwd.t")?;
    if let Some(late) = t.iter().find(|&&t| t >= plain.len()) {
        return Err(ParityError::content("fwd.t", format!("timesteps below {}", plain.len()), late));
    }
    let t = Timesteps::whole(t);
    let (x_0, eps) =
        (fixture.tensor::<4>("fwd.x0", fixture.wide())?, fixture.tensor("fwd.noise", fixture.wide())?);
    for (alphas_cumprod, suffix) in [(&plain, ""), (&rescaled, "_zsnr")] {
        let at = NoiseSchedule::from_alphas_cumprod(alphas_cumprod).coefficients(&t, &x_0);
        let x_t = diffuse(x_0.clone(), eps.clone(), &at);
        rows.check_tensor(&format!("fwd.add_noise{suffix}"), x_t.clone(), SINGLE);
        let velocity = v(Prediction::X0, x_0.clone(), x_t, &at);
        rows.check_tensor(&format!("fwd.velocity{suffix}"), velocity, SINGLE);
    }
    Ok(())
}

/// `beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}`.
fn betas_of(alphas_cumprod: &[f64]) -> Vec<f64> {
    let before = [1.0].into_iter().chain(alphas_cumprod.iter().copied());
    alphas_cumprod.iter().zip(before).map(|(here, before)| 1.0 - here / before).collect()
}

/// A field of a trajectory's facts as the scheduler resolved it.
fn option<'a>(facts: &'a Value, field: &str) -> &'a Value {
    let resolved = &facts["resolved"][field];
    if resolved.is_null() { &facts["config"][field] } else { resolved }
}
