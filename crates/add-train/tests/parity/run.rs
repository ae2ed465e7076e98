//! A recorded run through `AddTrainer::step`, and everything that the recording holds of it.

use std::collections::BTreeMap;

use add_loss::{PixelReduction, R1Route, Reduction, resize};
use add_plugin::{Conditioning, Pixels, Plugin, Prediction, Schedule, Timesteps, Weighting};
use add_train::{
    add_inputs::{AddInputs, Prompts, StudentInput, TeacherInput, View},
    add_step::{AddMethod, AddOptions, AddTrainer, ImageCondition, Space, Terminal},
    ema::Ema,
    model::Diffusion,
    optimizer::AdamW,
    report::{Figure, StepReport},
    shards::Shards,
    state::State,
};
use burn::tensor::Tensor;
use ron::extensions::Extensions;
use serde::de::DeserializeOwned;

use crate::{
    comparison::Comparison,
    fixture::Fixture,
    networks::{flat, heads_name, networks, student_name, values},
};

/// Of losses, gradient norms, and what is looked at within a step.
const TOLERANCE: f64 = 1e-9;
/// Of gradients and of what the optimisers make of them.
const OF_PARAMETERS: f64 = 1e-8;
/// Gradients below this are rounding.
const FLOOR: f64 = 1e-3;

/// Runs fixture `name` in `parts`, each of which is given the fixture's whole batch: all losses are means over the
/// batch, so the run stays the same.
pub(crate) fn check(name: &str, parts: usize) {
    let fixture = Fixture::open(name);
    let weighting = weighting(&fixture.config.hyper.weighting);
    Run::new(&fixture, &weighting, parts).check(name);
}

/// A recorded run at some step.
pub(crate) struct Run<'a> {
    fixture: &'a Fixture,
    pub(crate) trainer: AddTrainer<'a>,
    parts: usize,
}

fn plugin<T: DeserializeOwned>(recipe: &str) -> T {
    // Linking the crates is not enough: something must name them.
    use ::{schedules as _, weightings as _};
    let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
    options.from_str(recipe).unwrap_or_else(|error| panic!("{recipe}: {error}"))
}

/// The plugin that the reference calls `name`.
pub(crate) fn weighting(name: &str) -> Plugin<dyn Weighting> {
    plugin(match name {
        "exp" => "Exponential()",
        "sds" => "Sds()",
        "nfsd" => "Nfsd()",
        other => panic!("unknown weighting {other}"),
    })
}

/// Student and teacher predict `v`; the student's last timestep holds no signal.
fn diffusion(schedule: &str) -> Diffusion {
    let schedule: Plugin<dyn Schedule> = plugin(schedule);
    Diffusion { schedule: schedule.tables(), prediction: Prediction::V }
}

/// The process that leaves signal at its last timestep: the teacher's.
pub(crate) fn leaky() -> Diffusion {
    diffusion("ScaledLinear()")
}

fn trainer<'a>(fixture: &Fixture, weighting: &'a Plugin<dyn Weighting>, parts: usize) -> AddTrainer<'a> {
    let hyper = &fixture.config.hyper;
    let networks = networks(fixture);
    let batch = (parts * fixture.shape("in.x0")[1]) as f64;
    // After `half_life` images an old value counts half: decay^(half_life / batch) = 1/2.
    let half_life = batch * 0.5_f64.ln() / hyper.ema_decay.ln();
    AddTrainer {
        ema: Ema::new(half_life, &[("", &*networks.student)]).constant(),
        networks,
        method: AddMethod {
            student_diffusion: diffusion("ZeroTerminalSnr(inner: ScaledLinear())"),
            teacher_diffusion: leaky(),
            weighting: &**weighting,
            options: AddOptions {
                adversarial_weight: 1.0,
                lambda: hyper.lam,
                distance: match hyper.reduction.as_str() {
                    "sum" => PixelReduction::Sum,
                    "mean" => PixelReduction::Mean,
                    other => panic!("unknown reduction {other}"),
                },
                space: Space::Pixel,
                heads: Reduction::Sum,
                r1: R1Route::Tangent,
                gamma: hyper.gamma,
                text_condition: true,
                image_condition: ImageCondition::Always,
                teacher_steps: hyper.teacher_steps,
                terminal: Terminal::Schedule,
            },
        },
        shards: Shards::new(parts).expect("threads"),
        optimizer_g: AdamW::new(hyper.opt_g.config()),
        optimizer_d: AdamW::new(hyper.opt_d.config()),
    }
}

impl<'a> Run<'a> {
    pub(crate) fn new(fixture: &'a Fixture, weighting: &'a Plugin<dyn Weighting>, parts: usize) -> Self {
        Self { trainer: trainer(fixture, weighting, parts), fixture, parts }
    }

    fn check(mut self, name: &str) {
        let mut comparison = Comparison::new(name);
        self.check_first_step_from_within(&mut comparison);
        let steps = self.fixture.config.hyper.steps;
        for step in 0..steps {
            let report = self.step((0..self.parts).map(|_| self.inputs(step)).collect());
            self.check_losses(step, &report, &mut comparison);
            self.check_parameters(step, &mut comparison);
            if step == 0 {
                self.check_gradients(&report, &mut comparison);
            }
        }
        self.check_final_values(&mut comparison);
        comparison.finish(400 * steps);
    }

    /// One step of training.
    pub(crate) fn step(&mut self, parts: Vec<AddInputs<'_>>) -> StepReport {
        let hyper = &self.fixture.config.hyper;
        self.trainer.step(parts, hyper.opt_g.lr, hyper.opt_d.lr)
    }

    /// What `step` is given.
    pub(crate) fn inputs(&self, step: usize) -> AddInputs<'static> {
        let fixture = self.fixture;
        let size = |side: usize| -> View<'static> { Box::new(move |x| resize(x, [side; 2])) };
        let [features, embedding] = [&fixture.config.feat, &fixture.config.cimg].map(|vit| vit.img_size);
        let student = |phase: &str| StudentInput {
            s: Timesteps(fixture.timesteps(&format!("in.s_{phase}"), step)),
            eps: fixture.input(&format!("in.eps_{phase}"), step),
        };
        let captions =
            Conditioning { tokens: fixture.input("in.ctx", step), pooled: fixture.input("in.c_text", step) };
        let t = Timesteps(fixture.timesteps("in.t_g", step));
        AddInputs {
            x_0: Pixels(fixture.input("in.x0", step)),
            prompts: Prompts {
                null: other_prompt(fixture, "in.ctx_uncond", &captions),
                negative: other_prompt(fixture, "in.ctx_neg", &captions),
                captions,
            },
            generator: student("g"),
            discriminator: Some(student("d")),
            teacher: TeacherInput {
                guidance: vec![fixture.config.hyper.cfg; t.0.len()],
                eps: fixture.input("in.eps_t", step),
                t,
            },
            draws: Vec::new(),
            real_view: size(features),
            fake_view: size(features),
            embedding_view: size(embedding),
        }
    }

    /// What a step makes on its way: features, condition, teacher's target, spectral vectors.
    fn check_first_step_from_within(&self, comparison: &mut Comparison) {
        let AddTrainer { networks, method, .. } = &self.trainer;
        let inputs = self.inputs(0);
        let mut check = |key: String, got: Vec<f64>| {
            comparison.add(&format!("within {key}"), &got, &self.fixture.values(&key), TOLERANCE, 0.0);
        };
        for (kind, pixels) in [("real", inputs.x_0.0.clone()), ("fake", self.fixture.tensor("step0.d.x_hat"))]
        {
            let features = networks.features.features(Pixels((inputs.real_view)(pixels)));
            for (k, feature) in features.into_iter().enumerate() {
                check(format!("step0.d.f_{kind}.{k}"), flat(feature));
            }
        }
        let encoder = networks.image_encoder.as_ref().expect("a second network");
        let c_img = encoder.embedding(Pixels((inputs.embedding_view)(inputs.x_0.0.clone())));
        let c = Tensor::cat(vec![inputs.prompts.captions.pooled.clone(), c_img], 1);
        check("step0.c".to_owned(), flat(c));
        let x_hat = self.fixture.tensor("step0.g.x_hat");
        let target = method.target(&*networks.teacher, &inputs.prompts, &inputs.teacher, x_hat);
        check("step0.g.target".to_owned(), flat(target));
        // One iteration for the fakes, one for the real pictures; the student's turn iterates once more.
        let mut heads = networks.heads.frozen();
        heads.power_iterate();
        heads.power_iterate();
        for (name, value) in values(&*heads, heads_name) {
            let recorded = self.fixture.names("step0.d.after.").any(|there| there == name);
            if recorded && is_spectral_vector(&name) {
                check(format!("step0.d.after.{name}"), value);
            }
        }
    }

    fn check_losses(&self, step: usize, report: &StepReport, comparison: &mut Comparison) {
        let get = |name: &str| report.get(name).unwrap_or_else(|| panic!("no {name} in the report"));
        let loss_g = get("loss_adv") + self.trainer.method.options.lambda * get("loss_distill");
        for (key, got) in [
            ("d_real", get("loss_d_real")),
            ("d_fake", get("loss_d_fake")),
            ("r1", get("r1")),
            ("loss_d", get("loss_d")),
            ("adv_g", get("loss_adv")),
            ("distill", get("loss_distill")),
            ("loss_g", loss_g),
            ("gradnorm_d", get("grad_norm_d")),
            ("gradnorm_g", get("grad_norm_g")),
        ] {
            let want = self.fixture.row(&format!("loss.{key}"), step);
            comparison.add(&format!("loss.{key} of step {step}"), &[got], &want, TOLERANCE, 0.0);
        }
    }

    /// The first moment after one update is `(1 - beta_1)` times the gradient.
    fn check_gradients(&self, report: &StepReport, comparison: &mut Comparison) {
        let AddTrainer { optimizer_g, optimizer_d, .. } = &self.trainer;
        let mut state = State::default();
        for (optimizer, group, prefix, name) in [
            (optimizer_g, "g", "step0.g.grad.", student_name as fn(&str) -> String),
            (optimizer_d, "d", "step0.d.grad.", heads_name),
        ] {
            optimizer.save(group, &mut state);
            let part = 1.0 - optimizer.config().betas.0;
            let moments = state.names(group).filter_map(|key| Some((key, key.strip_prefix("m.")?)));
            let gradients: BTreeMap<String, Vec<f64>> = moments
                .map(|(key, path)| {
                    let moment = state.get(group, key).expect("a moment");
                    (name(path), flat(moment.mul_scalar(1.0 / part)))
                })
                .collect();
            for name in self.fixture.names(prefix) {
                let key = format!("{prefix}{name}");
                let want = self.fixture.values(&key);
                comparison.add(&format!("gradient {key}"), &gradients[name], &want, OF_PARAMETERS, FLOOR);
            }
        }
        for (name, figure) in report.figures() {
            let Figure::List(means) = figure else { continue };
            for (k, &got) in means.iter().enumerate() {
                let key = format!("step0.d.{name}.{k}");
                let logits = self.fixture.values(&key);
                let want = logits.iter().sum::<f64>() / logits.len() as f64;
                comparison.add(&format!("within {key}"), &[got], &[want], TOLERANCE, FLOOR);
            }
        }
    }

    /// The norm of every parameter after `step`, and the values of those that are recorded.
    fn check_parameters(&self, step: usize, comparison: &mut Comparison) {
        let Values { student, ema, heads } = self.values();
        let order = &self.fixture.param_order;
        for (network, order, values) in [
            ("student", &order.student, &student),
            ("ema", &order.student, &ema),
            ("heads", &order.heads, &heads),
        ] {
            let want = self.fixture.row(&format!("norms.{network}"), step);
            assert_eq!(want.len(), order.len(), "one norm per parameter");
            for (name, want) in order.iter().zip(want).filter(|(name, _)| is_trained(network, name)) {
                let got = values[name].iter().map(|x| x * x).sum::<f64>().sqrt();
                let what = format!("norms.{network} {name} after step {step}");
                comparison.add(&what, &[got], &[want], OF_PARAMETERS, 0.0);
            }
        }
        for name in self.fixture.names("after.") {
            let got = match name.strip_prefix("heads.") {
                Some(name) => &heads[name],
                None => &student[name],
            };
            let want = self.fixture.row(&format!("after.{name}"), step);
            comparison.add(&format!("after {name} of step {step}"), got, &want, OF_PARAMETERS, 0.0);
        }
        if step == 0 {
            for name in self.fixture.names("step0.d.after.").filter(|name| !is_spectral_vector(name)) {
                if is_trained("heads", name) {
                    let want = self.fixture.values(&format!("step0.d.after.{name}"));
                    comparison.add(&format!("after {name} of D"), &heads[name], &want, OF_PARAMETERS, 0.0);
                }
            }
        }
    }

    fn check_final_values(&self, comparison: &mut Comparison) {
        let Values { student, ema, heads } = self.values();
        for (network, values) in [("student", student), ("ema", ema), ("heads", heads)] {
            let prefix = format!("final.{network}.");
            for name in self.fixture.names(&prefix).filter(|name| is_trained(network, name)) {
                let want = self.fixture.values(&format!("{prefix}{name}"));
                comparison.add(&format!("{prefix} {name}"), &values[name], &want, OF_PARAMETERS, 0.0);
            }
        }
    }

    /// All parameters as they are now.
    pub(crate) fn values(&self) -> Values {
        let AddTrainer { networks, ema, .. } = &self.trainer;
        let mut averaged = networks.student.frozen();
        ema.install("", &mut *averaged);
        Values {
            student: values(&*networks.student, student_name),
            ema: values(&*averaged, student_name),
            heads: values(&*networks.heads, heads_name),
        }
    }
}

/// All parameters by the reference's names.
pub(crate) struct Values {
    pub(crate) student: BTreeMap<String, Vec<f64>>,
    pub(crate) ema: BTreeMap<String, Vec<f64>>,
    pub(crate) heads: BTreeMap<String, Vec<f64>>,
}

/// The empty caption or the negative prompt, a batch of one; the U-Net does not look at its pooled embedding.
fn other_prompt(fixture: &Fixture, key: &str, captions: &Conditioning) -> Conditioning {
    let tokens = fixture.tensor::<3>(key).narrow(0, 0, 1);
    Conditioning { tokens, pooled: captions.pooled.clone().narrow(0, 0, 1).zeros_like() }
}

/// `u` and `v` of a spectral norm.
fn is_spectral_vector(name: &str) -> bool {
    name.ends_with(".weight_u") || name.ends_with(".weight_v")
}

/// A bias in front of a normalisation has no gradient but rounding, which AdamW divides by itself.
pub(crate) fn is_trained(network: &str, name: &str) -> bool {
    let in_front =
        name.ends_with(".main.0.0.bias") || name.contains(".main.") && name.ends_with(".fn.0.bias");
    network != "heads" || !in_front
}
