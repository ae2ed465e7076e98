//! Forward diffusion, conversions and schedules: `losses/algebra`, `sched/samplers`.

use add_loss::{diffuse, epsilon, v, x0};
use add_plugin::{NoiseSchedule, Plugin, Prediction, Schedule, Timesteps};

use crate::fixture::{Fixture, close};

pub(crate) fn schedule(text: &str) -> Plugin<dyn Schedule> {
    // Linking the crate is not enough: something must name it.
    use ::schedules as _;
    use ron::extensions::Extensions;
    let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
    options.from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn schedules_are_the_libraries_tables() {
    let fixture = Fixture::open("sched", "samplers");
    for (recipe, key) in [
        ("ScaledLinear()", "tables.alphas_cumprod_f64"),
        ("ZeroTerminalSnr(inner: ScaledLinear())", "tables.alphas_cumprod_zsnr_f64"),
    ] {
        fixture.check_values(key, &schedule(recipe).alphas_cumprod(), 1e-12, 0.0);
    }
}

#[test]
fn diffusion_and_conversions_are_the_references() {
    let fixture = Fixture::open("losses", "algebra");
    let t = Timesteps(fixture.timesteps("in.t"));
    for (case, recipe) in [("plain", "ScaledLinear()"), ("zsnr", "ZeroTerminalSnr(inner: ScaledLinear())")] {
        let alphas_cumprod = schedule(recipe).alphas_cumprod();
        let key = |name: &str| format!("{case}.{name}");
        close("alphas", &alphas_cumprod, &fixture.values(&key("alphas_cumprod")), 1e-12, 0.0);
        let tables = NoiseSchedule::from_alphas_cumprod(&alphas_cumprod);
        let (x_0, eps) = (fixture.tensor::<4>("in.x0"), fixture.tensor::<4>("in.eps"));
        let (alpha, sigma) = tables.coefficients(&t, &x_0);
        let (a, s) = (|| alpha.clone(), || sigma.clone());
        let x_t = diffuse(x_0.clone(), eps.clone(), a(), s());
        fixture.check(&key("x_t"), x_t.clone(), 1e-12);
        let velocity = v(Prediction::X0, x_0, x_t.clone(), a(), s());
        fixture.check(&key("v"), velocity.clone(), 1e-10);
        fixture.check(&key("x0_from_v"), x0(Prediction::V, velocity.clone(), x_t.clone(), a(), s()), 1e-10);
        fixture.check(&key("eps_from_v"), epsilon(Prediction::V, velocity, x_t.clone(), a(), s()), 1e-10);
        if case == "plain" {
            fixture.check("plain.x0_from_eps", x0(Prediction::Epsilon, eps, x_t, a(), s()), 1e-10);
        }
    }
}
