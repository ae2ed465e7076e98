//! Forward diffusion, conversions between predictions, and the schedules' tables.
//!
//! For `plain` (scaled-linear betas) and `zsnr` (the same with zero terminal SNR): `alphas_cumprod`; `x_t` from
//! `in.x0` and `in.eps` at the timesteps `in.t`; `v`, and from it `x0` and `eps`; `x0_from_eps` where alpha is not 0.

use add_loss::{diffuse, epsilon, v, x0};
use add_plugin::{NoiseSchedule, Prediction, Timesteps};

use crate::{
    Fixture, ParityError,
    row::{Comparison, Tolerance},
    tables::Betas,
};

/// Conversions divide by alpha, which is small at the noisy end.
const CONVERSION: Tolerance = Tolerance::Relative { part: 1e-10, floor: 0.0 };
const EXACT: Tolerance = Tolerance::Relative { part: 1e-12, floor: 0.0 };

pub(super) fn compare(fixture: &Fixture, rows: &mut Comparison) -> Result<(), ParityError> {
    let t = fixture.indices("in.t")?;
    for case in fixture.parts("").into_iter().filter(|part| part != "in") {
        let key = |name: &str| format!("{case}.{name}");
        let steps = fixture.shape(&key("alphas_cumprod"))?.iter().product();
        let betas = Betas { steps, ..Betas::STABLE_DIFFUSION };
        let alphas_cumprod = match case.as_str() {
            "plain" => betas.alphas_cumprod()?,
            "zsnr" => betas.with_zero_terminal_snr()?,
            other => return Err(ParityError::content("schedule", "plain or zsnr", other)),
        };
        rows.check_values(&key("alphas_cumprod"), &alphas_cumprod, EXACT);
        if let Some(late) = t.iter().find(|&&t| t >= steps) {
            return Err(ParityError::content("in.t", format!("timesteps below {steps}"), late));
        }
        let tables = NoiseSchedule::from_alphas_cumprod(&alphas_cumprod);
        let (x_0, eps) =
            (fixture.tensor::<4>("in.x0", fixture.wide())?, fixture.tensor("in.eps", fixture.wide())?);
        let at = tables.coefficients(&Timesteps::whole(t.iter().copied()), &x_0);
        let x_t = diffuse(x_0.clone(), eps.clone(), &at);
        rows.check_tensor(&key("x_t"), x_t.clone(), EXACT);
        let velocity = v(Prediction::X0, x_0, x_t.clone(), &at);
        rows.check_tensor(&key("v"), velocity.clone(), CONVERSION);
        let x0_from_v = x0(Prediction::V, velocity.clone(), x_t.clone(), &at);
        rows.check_tensor(&key("x0_from_v"), x0_from_v, CONVERSION);
        let eps_from_v = epsilon(Prediction::V, velocity, x_t.clone(), &at);
        rows.check_tensor(&key("eps_from_v"), eps_from_v, CONVERSION);
        if fixture.has(&key("x0_from_eps")) {
            rows.check_tensor(&key("x0_from_eps"), x0(Prediction::Epsilon, eps, x_t, &at), CONVERSION);
        }
    }
    Ok(())
}
