//! Eq. (4) with every weighting, number of teacher steps and guidance, in latent and pixel space:
//! `losses/distill_*`. The reference's teacher is `tanh(M x + b t / 1000 + e)`, its decoder `tanh(conv(up(x)))`.

use add_loss::{PixelReduction, consecutive_estimate, diffuse, distillation, epsilon, guide, x0};
use add_plugin::{
    Estimate, NoiseSchedule, Plugin, Prediction, Prompt, StudentSample, Teacher, Timesteps, Weighting,
    per_sample,
};
use burn::tensor::{Tensor, module::conv2d, ops::ConvOptions};

use crate::{
    algebra::schedule,
    fixture::{Fixture, close, values},
};

const TOLERANCE: f64 = 1e-10;

pub(crate) fn weighting(text: &str) -> Plugin<dyn Weighting> {
    use ::weightings as _;
    use ron::extensions::Extensions;
    let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
    options.from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

struct ToyTeacher<'a> {
    fixture: &'a Fixture,
    prediction: Prediction,
    schedule: NoiseSchedule,
    steps: usize,
    guidance: f64,
}

impl ToyTeacher<'_> {
    fn output(&self, x_t: &Tensor<4>, t: &Timesteps, prompt: Prompt) -> Tensor<4> {
        let embedding = match prompt {
            Prompt::Caption => "teacher.e.cond",
            Prompt::Null => "teacher.e.uncond",
            Prompt::Negative => "teacher.e.neg",
        };
        let [batch, c, h, w] = x_t.dims();
        let mixed = self.fixture.tensor::<2>("teacher.M").unsqueeze::<3>().matmul(x_t.clone().reshape([
            batch,
            c,
            h * w,
        ]));
        let per_channel = |key: &str| self.fixture.tensor::<1>(key).reshape([1, c, 1, 1]);
        let time: Vec<f64> = t.0.iter().map(|&t| t as f64 / 1000.0).collect();
        let time = per_channel("teacher.b") * per_sample(&time, x_t);
        (mixed.reshape([batch, c, h, w]) + time + per_channel(embedding)).tanh()
    }

    fn guided(&self, x_t: Tensor<4>, t: &Timesteps) -> Estimate {
        let scale = per_sample(&vec![self.guidance; t.0.len()], &x_t);
        let output = guide(self.output(&x_t, t, Prompt::Caption), self.output(&x_t, t, Prompt::Null), scale);
        let (alpha, sigma) = self.schedule.coefficients(t, &x_t);
        Estimate {
            x0: x0(self.prediction, output.clone(), x_t.clone(), alpha.clone(), sigma.clone()),
            epsilon: epsilon(self.prediction, output, x_t, alpha, sigma),
        }
    }
}

impl Teacher for ToyTeacher<'_> {
    fn x0(&self, x_t: &Tensor<4>, t: &Timesteps) -> Tensor<4> {
        consecutive_estimate(x_t.clone(), t, self.steps, &self.schedule, &mut |x_t, t| self.guided(x_t, t))
    }

    fn epsilon(&self, x_t: &Tensor<4>, t: &Timesteps, prompt: Prompt) -> Tensor<4> {
        let (alpha, sigma) = self.schedule.coefficients(t, x_t);
        epsilon(self.prediction, self.output(x_t, t, prompt), x_t.clone(), alpha, sigma)
    }

    fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }
}

/// The reference's decoder: twice the size by repetition, a convolution, `tanh`.
fn decode(fixture: &Fixture, x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let up = x.reshape([b, c, h, 1, w, 1]).repeat_dim(3, 2).repeat_dim(5, 2).reshape([b, c, 2 * h, 2 * w]);
    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    conv2d(up, fixture.tensor("dec.weight"), Some(fixture.tensor("dec.bias")), options).tanh()
}

/// The recipe, teacher steps and guidance that a combination such as `sds_w1.steps2.cfg4` stands for.
fn combination(name: &str) -> (Plugin<dyn Weighting>, usize, f64) {
    let parts: Vec<&str> = name.splitn(4, '.').collect();
    let number = |part: &str, prefix: &str| part.strip_prefix(prefix).and_then(|n| n.parse().ok());
    let recipe = match parts[0] {
        "exp" => "Exponential()".to_owned(),
        "sds" => "Sds()".to_owned(),
        "sds_w1" => "Sds(w: One)".to_owned(),
        "nfsd" => format!("Nfsd(scale: {:?})", number(parts[3], "scale").unwrap_or(f64::NAN)),
        other => panic!("unknown weighting {other}"),
    };
    let steps = number(parts[1], "steps").expect("steps") as usize;
    (weighting(&recipe), steps, number(parts[2], "cfg").expect("guidance"))
}

fn check(name: &str, prediction: Prediction) {
    let fixture = Fixture::open("losses", name);
    let schedule = schedule("ScaledLinear()").tables();
    let t = Timesteps(fixture.timesteps("in.t"));
    let x_hat_theta = fixture.tensor::<4>("in.x_hat");
    let (alpha, sigma) = schedule.coefficients(&t, &x_hat_theta);
    let x_hat_theta_t = diffuse(x_hat_theta.clone(), fixture.tensor("in.noise"), alpha, sigma);
    fixture.check("out.x_t", x_hat_theta_t.clone(), TOLERANCE);
    let student = StudentSample { x_hat_theta: x_hat_theta.clone(), x_hat_theta_t, t: t.clone() };

    let (present, mut compared) = (fixture.names(""), 0);
    let combinations: Vec<String> =
        present.iter().filter_map(|key| key.strip_suffix(".target")).map(str::to_owned).collect();
    assert!(combinations.len() >= 20, "{} combinations", combinations.len());
    for combination_name in combinations {
        let (weighting, steps, guidance) = combination(&combination_name);
        let key = |what: &str| format!("{combination_name}.{what}");
        let teacher =
            ToyTeacher { fixture: &fixture, prediction, schedule: schedule.clone(), steps, guidance };
        let target = weighting.target(&student, &teacher);
        fixture.check(&key("target"), target.clone(), TOLERANCE);
        let c: Vec<f64> = t.0.iter().map(|&t| weighting.weight(&schedule, t)).collect();
        fixture.check_values(&key("c"), &c, TOLERANCE, 0.0);
        for (reduction, suffix) in [(PixelReduction::Sum, "sum"), (PixelReduction::Mean, "mean")] {
            for space in ["latent", "pixel"] {
                let x = x_hat_theta.clone().autodiff().require_grad();
                let loss = if space == "latent" {
                    distillation(x.clone(), target.clone(), &c, reduction)
                } else {
                    distillation(decode(&fixture, x.clone()), decode(&fixture, target.clone()), &c, reduction)
                };
                let gradient = x.grad(&loss.backward()).expect("a gradient");
                let name = |what: &str| key(&format!("{space}.{what}_{suffix}"));
                if present.contains(&name("loss")) {
                    compared += 1;
                    fixture.check_values(&name("loss"), &values(loss), TOLERANCE, 0.0);
                    fixture.check(&name("grad"), gradient, TOLERANCE);
                }
            }
        }
        if steps == 1 && combination_name.starts_with("sds") {
            check_sds_identity(&fixture, &combination_name, &student, &target, &c);
        }
    }
    assert!(compared >= 80, "{compared} losses");
}

/// `d/dx_hat_theta [c |x_hat_theta - x_hat_psi|^2] = w(t)(eps_psi - eps')`.
fn check_sds_identity(fixture: &Fixture, name: &str, student: &StudentSample, target: &Tensor<4>, c: &[f64]) {
    let schedule = schedule("ScaledLinear()").tables();
    let x = student.x_hat_theta.clone().autodiff().require_grad();
    let batch = c.len() as f64;
    let loss = distillation(x.clone(), target.clone(), c, PixelReduction::Sum).mul_scalar(batch);
    let gradient = x.grad(&loss.backward()).expect("a gradient");
    let w = |t: usize| if name.starts_with("sds_w1") { 1.0 } else { schedule.sigma(t).powi(2) };
    let w: Vec<f64> = student.t.0.iter().map(|&t| w(t)).collect();
    let (alpha, sigma) = schedule.coefficients(&student.t, target);
    let eps_psi = epsilon(Prediction::X0, target.clone(), student.x_hat_theta_t.clone(), alpha, sigma);
    let sds = (eps_psi - fixture.tensor("in.noise")) * per_sample(&w, target);
    close(name, &values(gradient), &values(sds), 1e-10, 0.0);
}

#[test]
fn a_noise_predicting_teacher() {
    check("distill_epsilon", Prediction::Epsilon);
}

#[test]
fn a_velocity_predicting_teacher() {
    check("distill_v_prediction", Prediction::V);
}

#[test]
fn nothing_reaches_the_teacher() {
    let fixture = Fixture::open("losses", "distill_epsilon");
    let x = fixture.tensor::<4>("in.x_hat").autodiff().require_grad();
    let target = fixture.tensor::<4>("exp.steps1.cfg1.target").autodiff().require_grad();
    let loss = distillation(x.clone(), target.clone().inner(), &[1.0; 3], PixelReduction::Mean);
    let gradients = loss.backward();
    assert!(x.grad(&gradients).is_some() && target.grad(&gradients).is_none());
}
