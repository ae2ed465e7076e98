//! Samplers against the libraries' trajectories on a toy denoiser `tanh(a x + b t / 1000)`: `sched/samplers`.
//!
//! Left out, with reason: `ddim_eps_alpha_to_one_linspace_10` (the library steps to `t - T / n`, which is not the next
//! timestep of its own list; ours goes to the next), `euler_karras_10` (fractional timesteps), `dpm_2m_*` (the solver
//! on noise, which is no plugin).

use add_loss::{epsilon, x0};
use add_plugin::{Estimate, NoiseSchedule, Plugin, Prediction, Sampler, SamplerContext, Timesteps};
use burn::tensor::Tensor;

use crate::fixture::{Fixture, close, tensor, values};

fn sampler(text: &str) -> Plugin<dyn Sampler> {
    use ::samplers as _;
    use ron::extensions::Extensions;
    let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
    options.from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// How the library's `x` relates to `x_t = alpha_t x_0 + sigma_t eps`.
#[derive(Clone, Copy, PartialEq)]
enum Space {
    /// It is `x_t`.
    VariancePreserving,
    /// It is `x_t / alpha_t`.
    VarianceExploding,
}

struct Trajectory {
    fixture: Fixture,
    name: String,
    prediction: Prediction,
    schedule: NoiseSchedule,
    space: Space,
    /// The library's own rounding: f32 noise levels even in its float64 run.
    tolerance: f64,
}

impl Trajectory {
    fn check(&self, recipe: &str) {
        let name = &self.name;
        let want_timesteps = self.fixture.timesteps(&format!("{name}.timesteps"));
        let steps = want_timesteps.len();
        let noises = self.fixture.values(&format!("{name}.noise"));
        let noise = self.fixture.tensor::<4>("in.noise");
        let shape = noise.dims();
        let size = shape.iter().product::<usize>();
        let mut context = SamplerContext {
            steps,
            schedule: &self.schedule,
            student_timesteps: &[],
            noise,
            fresh_noise: &mut |i| tensor(&noises[i * size..(i + 1) * size], shape),
        };
        let (a, b) = (self.fixture.scalar("in.a"), self.fixture.scalar("in.b"));
        let (mut inputs, mut asked) = (Vec::new(), Vec::new());
        let mut denoiser = |x_t: Tensor<4>, t: &Timesteps| {
            inputs.push(values(x_t.clone()));
            asked.push(t.0[0]);
            let time = b * t.0[0] as f64 / 1000.0;
            let output = x_t.clone().mul_scalar(a).add_scalar(time).tanh();
            let (alpha, sigma) = self.schedule.coefficients(t, &x_t);
            Estimate {
                x0: x0(self.prediction, output.clone(), x_t.clone(), alpha.clone(), sigma.clone()),
                epsilon: epsilon(self.prediction, output, x_t, alpha, sigma),
            }
        };
        let plugin = sampler(recipe);
        let sample = plugin.sample(&mut context, &mut denoiser);
        assert_eq!(asked, want_timesteps, "{name}");
        assert_eq!(plugin.timesteps(&context), asked, "{name}");

        let want = self.fixture.values(&format!("{name}.x64"));
        for (i, (input, &t)) in inputs.iter().zip(&asked).enumerate() {
            let scale = match self.space {
                Space::VariancePreserving => 1.0,
                Space::VarianceExploding => self.schedule.alpha(t),
            };
            let want: Vec<f64> = want[i * size..(i + 1) * size].iter().map(|x| x * scale).collect();
            close(&format!("{name} before step {i}"), input, &want, self.tolerance, 0.0);
        }
        close(name, &values(sample), &want[steps * size..], self.tolerance, 0.0);
    }
}

fn tables(key: &str) -> NoiseSchedule {
    NoiseSchedule::from_alphas_cumprod(&Fixture::open("sched", "samplers").values(&format!("tables.{key}")))
}

fn trajectory(name: &str, prediction: Prediction, table: &str, space: Space, tolerance: f64) -> Trajectory {
    let fixture = Fixture::open("sched", "samplers");
    Trajectory { fixture, name: name.to_owned(), prediction, schedule: tables(table), space, tolerance }
}

#[test]
fn ddim_is_the_librarys() {
    let landing = "landing: FirstTimestep";
    for (name, recipe) in [
        ("ddim_eps_trailing_1", format!("Ddim({landing})")),
        ("ddim_eps_trailing_4", format!("Ddim({landing})")),
        ("ddim_eps_trailing_10", format!("Ddim({landing})")),
        ("ddim_eps_leading_10", format!("Ddim(spacing: Leading, {landing})")),
        ("ddim_eta1_10", format!("Ddim(eta: 1.0, spacing: Leading, {landing})")),
    ] {
        trajectory(name, Prediction::Epsilon, "alphas_cumprod", Space::VariancePreserving, 1e-10)
            .check(&recipe);
    }
}

#[test]
fn ddim_from_zero_terminal_snr_is_the_librarys() {
    for name in ["ddim_v_zsnr_trailing_1", "ddim_v_zsnr_trailing_4", "ddim_v_zsnr_trailing_10"] {
        trajectory(name, Prediction::V, "alphas_cumprod_zsnr", Space::VariancePreserving, 1e-10)
            .check("Ddim(landing: FirstTimestep)");
    }
}

#[test]
fn euler_is_the_turbo_models() {
    for steps in [1, 2, 4] {
        for (name, recipe) in [("euler_sdturbo", "Euler()"), ("euler_a_sdxlturbo", "EulerAncestral()")] {
            let name = format!("{name}_{steps}");
            trajectory(&name, Prediction::Epsilon, "alphas_cumprod", Space::VarianceExploding, 2e-6)
                .check(recipe);
        }
        let name = format!("euler_v_zsnr_{steps}");
        // The library's samples start at 4096 times the noise, so its f32 levels cost it more.
        trajectory(&name, Prediction::V, "alphas_cumprod_zsnr_euler", Space::VarianceExploding, 1e-4)
            .check("Euler()");
    }
    trajectory(
        "euler_sdxl_leading_10",
        Prediction::Epsilon,
        "alphas_cumprod",
        Space::VarianceExploding,
        2e-6,
    )
    .check("Euler(spacing: Leading)");
}

#[test]
fn lcm_is_the_librarys() {
    for steps in [1, 2, 4, 8] {
        let name = format!("lcm_{steps}");
        trajectory(&name, Prediction::Epsilon, "alphas_cumprod", Space::VariancePreserving, 2e-6)
            .check("Lcm()");
    }
}

#[test]
fn dpm_solver_is_the_librarys() {
    for steps in [8, 25] {
        for (name, recipe, prediction) in [
            ("dpmpp_2m", "DpmSolver2M(spacing: Linspace)", Prediction::Epsilon),
            ("dpmpp_2m_karras", "DpmSolver2M(sigmas: Karras)", Prediction::Epsilon),
            ("dpmpp_2m_trailing_v", "DpmSolver2M(spacing: Trailing)", Prediction::V),
        ] {
            let name = format!("{name}_{steps}");
            trajectory(&name, prediction, "alphas_cumprod", Space::VariancePreserving, 2e-6).check(recipe);
        }
    }
}
