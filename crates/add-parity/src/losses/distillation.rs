//! Eq. (4) with every weighting, number of teacher steps and guidance, in latent and in pixel space.
//!
//! The reference's teacher is `tanh(M x + b t / 1000 + e)`, with `e` of the caption, of no caption and of the negative
//! one; its decoder is `tanh(conv(up(x)))`, twice the size. `<name>.json` says what each combination stands for:
//! `target` is `x_hat_psi`, `c` the weight, `latent.*` and `pixel.*` the loss and its gradient by `in.x_hat` under
//! both reductions; `eps_or_direction` the teacher's estimate of the noise (NFSD: its direction), and `sds_gradient`
//! `w(t)(eps_psi - eps') / B`, which the gradient under SDS has to be.

use add_loss::{PixelReduction, consecutive_estimate, diffuse, distillation, epsilon, guide, x0};
use add_plugin::{
    Estimate, NoiseSchedule, Prediction, Prompt, StudentSample, Teacher, Timesteps, Weighting, per_sample,
};
use burn::tensor::{Tensor, module::conv2d, ops::ConvOptions};
use serde::Deserialize;
use weightings::{Exponential, Nfsd, Sds, SdsWeight, Uniform};

use crate::{
    Fixture, ParityError,
    row::{Comparison, Tolerance, gradient, values},
    tables::Betas,
};

const TOLERANCE: Tolerance = Tolerance::Relative { part: 1e-10, floor: 0.0 };

/// What a combination stands for, as `<name>.json` has it.
#[derive(Deserialize)]
struct Combination {
    weighting: String,
    teacher_steps: usize,
    cfg: f64,
    nfsd: Option<NfsdOptions>,
}

#[derive(Clone, Copy, Deserialize)]
struct NfsdOptions {
    threshold: usize,
    scale: f64,
}

impl Combination {
    fn weighting(&self) -> Result<Box<dyn Weighting>, ParityError> {
        Ok(match (self.weighting.as_str(), self.nfsd) {
            ("exp", _) => Box::new(Exponential::default()),
            ("sds", _) => Box::new(Sds::default()),
            ("sds_w1", _) => Box::new(Sds { w: SdsWeight::One }),
            ("uniform", _) => Box::new(Uniform {}),
            ("nfsd", Some(NfsdOptions { threshold, scale })) => {
                Box::new(Nfsd { scale, threshold, ..Nfsd::default() })
            }
            (other, _) => {
                return Err(ParityError::content("weighting", "exp, sds, sds_w1, nfsd or uniform", other));
            }
        })
    }
}

/// The reference's teacher under one combination's steps and guidance.
#[derive(Clone)]
struct ToyTeacher {
    mixing: Tensor<2>,
    time: Tensor<4>,
    caption: Tensor<4>,
    null: Tensor<4>,
    negative: Tensor<4>,
    prediction: Prediction,
    schedule: NoiseSchedule,
    steps: usize,
    guidance: f64,
}

impl ToyTeacher {
    fn read(fixture: &Fixture) -> Result<Self, ParityError> {
        let per_channel = |key: &str| -> Result<Tensor<4>, ParityError> {
            let values = fixture.tensor::<1>(key, fixture.wide())?;
            let [c] = values.dims();
            Ok(values.reshape([1, c, 1, 1]))
        };
        // The kind of prediction stands in the name only.
        let kinds =
            [("v_prediction", Prediction::V), ("epsilon", Prediction::Epsilon), ("sample", Prediction::X0)];
        let kind = kinds.iter().find(|(kind, _)| fixture.name().contains(kind));
        let unknown =
            || ParityError::content("name", "epsilon, v_prediction or sample in it", fixture.name());
        Ok(Self {
            mixing: fixture.tensor("teacher.M", fixture.wide())?,
            time: per_channel("teacher.b")?,
            caption: per_channel("teacher.e.cond")?,
            null: per_channel("teacher.e.uncond")?,
            negative: per_channel("teacher.e.neg")?,
            prediction: kind.ok_or_else(unknown)?.1,
            schedule: NoiseSchedule::from_alphas_cumprod(&Betas::STABLE_DIFFUSION.alphas_cumprod()?),
            steps: 1,
            guidance: 1.0,
        })
    }

    fn output(&self, x_t: &Tensor<4>, t: &Timesteps, prompt: Prompt) -> Tensor<4> {
        let embedding = match prompt {
            Prompt::Caption => &self.caption,
            Prompt::Null => &self.null,
            Prompt::Negative => &self.negative,
        };
        let shape = x_t.dims();
        let mixed = self.mixing.clone().unsqueeze::<3>().matmul(x_t.clone().flatten(2, 3)).reshape(shape);
        let time: Vec<f64> = t.0.iter().map(|&t| t / 1000.0).collect();
        (mixed + self.time.clone() * per_sample(&time, x_t) + embedding.clone()).tanh()
    }

    fn guided(&self, x_t: Tensor<4>, t: &Timesteps) -> Estimate {
        let scale = per_sample(&vec![self.guidance; t.0.len()], &x_t);
        let output = guide(self.output(&x_t, t, Prompt::Caption), self.output(&x_t, t, Prompt::Null), scale);
        let at = self.schedule.coefficients(t, &x_t);
        Estimate {
            x0: x0(self.prediction, output.clone(), x_t.clone(), &at),
            epsilon: epsilon(self.prediction, output, x_t, &at),
        }
    }
}

impl Teacher for ToyTeacher {
    fn x0(&self, x_t: &Tensor<4>, t: &Timesteps) -> Tensor<4> {
        consecutive_estimate(x_t.clone(), t, self.steps, &self.schedule, &mut |x_t, t| self.guided(x_t, t))
    }

    fn epsilon(&self, x_t: &Tensor<4>, t: &Timesteps, prompt: Prompt) -> Tensor<4> {
        let at = self.schedule.coefficients(t, x_t);
        epsilon(self.prediction, self.output(x_t, t, prompt), x_t.clone(), &at)
    }

    fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }
}

/// The reference's decoder: twice the size by repetition, a convolution, `tanh`.
struct Decoder {
    weight: Tensor<4>,
    bias: Tensor<1>,
}

impl Decoder {
    fn decode(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let up =
            x.reshape([b, c, h, 1, w, 1]).repeat_dim(3, 2).repeat_dim(5, 2).reshape([b, c, 2 * h, 2 * w]);
        let [_, _, height, width] = self.weight.dims();
        let options = ConvOptions::new([1, 1], [height / 2, width / 2], [1, 1], 1);
        conv2d(up, self.weight.clone(), Some(self.bias.clone()), options).tanh()
    }
}

pub(super) fn compare(fixture: &Fixture, rows: &mut Comparison) -> Result<(), ParityError> {
    let teacher = ToyTeacher::read(fixture)?;
    let decoder = Decoder {
        weight: fixture.tensor("dec.weight", fixture.wide())?,
        bias: fixture.tensor("dec.bias", fixture.wide())?,
    };
    let t = fixture.indices("in.t")?;
    if let Some(late) = t.iter().find(|&&t| t >= teacher.schedule.steps()) {
        let expected = format!("timesteps below {}", teacher.schedule.steps());
        return Err(ParityError::content("in.t", expected, late));
    }
    let t = Timesteps::whole(t);
    let x_hat_theta = fixture.tensor::<4>("in.x_hat", fixture.wide())?;
    let noise = fixture.tensor::<4>("in.noise", fixture.wide())?;
    let at = teacher.schedule.coefficients(&t, &x_hat_theta);
    let tolerance = rows.computed(TOLERANCE);
    rows.check_values("in.alpha", &values(at.alpha.clone()), tolerance);
    rows.check_values("in.sigma", &values(at.sigma.clone()), tolerance);
    let x_hat_theta_t = diffuse(x_hat_theta.clone(), noise.clone(), &at);
    rows.check_tensor("out.x_t", x_hat_theta_t.clone(), TOLERANCE);
    let student = StudentSample { x_hat_theta, x_hat_theta_t, t };

    let combinations = &fixture.facts()["combos"];
    let Some(combinations) = combinations.as_object() else {
        return Err(ParityError::content("combos", "the combinations by name", combinations));
    };
    for (name, facts) in combinations {
        let facts: Combination = serde_json::from_value(facts.clone())
            .map_err(|source| ParityError::Json { file: format!("combination {name}"), source })?;
        if facts.teacher_steps == 0 {
            return Err(ParityError::content("teacher_steps", "at least 1", 0));
        }
        let teacher = ToyTeacher { steps: facts.teacher_steps, guidance: facts.cfg, ..teacher.clone() };
        compare_combination(fixture, rows, name, &facts, &student, &noise, &teacher, &decoder)?;
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "they are the parts of the equation")]
fn compare_combination(
    fixture: &Fixture,
    rows: &mut Comparison,
    name: &str,
    facts: &Combination,
    student: &StudentSample,
    noise: &Tensor<4>,
    teacher: &ToyTeacher,
    decoder: &Decoder,
) -> Result<(), ParityError> {
    let key = |what: &str| format!("{name}.{what}");
    let weighting = facts.weighting()?;
    let target = weighting.target(student, teacher);
    rows.check_tensor(&key("target"), target.clone(), TOLERANCE);
    let c: Vec<f64> = student.t.0.iter().map(|&t| weighting.weight(&teacher.schedule, t)).collect();
    rows.check_values(&key("c"), &c, TOLERANCE);
    for (reduction, suffix) in [(PixelReduction::Sum, "sum"), (PixelReduction::Mean, "mean")] {
        for space in ["latent", "pixel"] {
            let of = |what: &str| key(&format!("{space}.{what}_{suffix}"));
            if !fixture.has(&of("loss")) {
                continue;
            }
            let x = student.x_hat_theta.clone().autodiff().require_grad();
            let loss = if space == "latent" {
                distillation(x.clone(), target.clone(), &c, reduction)
            } else {
                distillation(decoder.decode(x.clone()), decoder.decode(target.clone()), &c, reduction)
            };
            rows.check_values(&of("loss"), &values(loss.clone()), rows.computed(TOLERANCE));
            rows.check_tensor(&of("grad"), gradient(&x, &loss.backward()), TOLERANCE);
        }
    }

    let at = teacher.schedule.coefficients(&student.t, &target);
    let direction = if facts.nfsd.is_some() {
        (student.x_hat_theta.clone() - target) * at.alpha / at.sigma
    } else {
        epsilon(Prediction::X0, target, student.x_hat_theta_t.clone(), &at)
    };
    if fixture.has(&key("sds_gradient")) {
        // c(t) = alpha_t / (2 sigma_t) w(t)
        let w = |(&t, c): (&f64, &f64)| 2.0 * c * teacher.schedule.sigma(t) / teacher.schedule.alpha(t);
        let w: Vec<f64> = student.t.0.iter().zip(&c).map(|pair| w(pair) / c.len() as f64).collect();
        let sds = (direction.clone() - noise.clone()) * per_sample(&w, noise);
        rows.check_tensor(&key("sds_gradient"), sds, TOLERANCE);
    }
    if fixture.has(&key("eps_or_direction")) {
        rows.check_tensor(&key("eps_or_direction"), direction, TOLERANCE);
    }
    Ok(())
}
