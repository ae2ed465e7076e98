//! Everything that a recording holds of its run, against the run that the production step makes of the same inputs.
//!
//! A tensor with a row for each step is held to the size of each row, the norms to that of each parameter.

use std::collections::BTreeMap;

use add_plugin::{Logits, Pixels};
use add_recipe::slot::{FEATURES, HEADS, IMAGE_ENCODER, STUDENT, TEACHER};
use add_train::{report::StepReport, state::State};
use burn::tensor::{DType, Tensor};
use methods::add::{AddInputs, AddTrainer, OPTIMIZER_D, OPTIMIZER_G, StudentInput};

use super::{
    networks::{heads_name, named_values, student_name},
    recording::Recording,
    run::{Run, Values},
};
use crate::{
    ParityError,
    row::{Comparison, Tolerance, values},
};

/// Gradients below this are rounding.
const FLOOR: f64 = 1e-3;
/// Tolerance of losses, gradient norms, and what is looked at within a step.
const WITHIN: Tolerance = Tolerance::Relative { part: 1e-9, floor: 0.0 };
/// The same in f32 from the second step on: `AdamW` divides a gradient by itself, so where that is rounding, other kernels take
/// another step.
const LATER_IN_F32: Tolerance = Tolerance::Relative { part: 1e-2, floor: 0.0 };
const OF_MEANS: Tolerance = Tolerance::Relative { part: 1e-9, floor: FLOOR };
/// Tolerance of parameters after the optimisers' steps.
const OF_PARAMETERS: Tolerance = Tolerance::Relative { part: 1e-8, floor: 0.0 };
const OF_GRADIENTS: Tolerance = Tolerance::Relative { part: 1e-8, floor: FLOOR };

pub(super) fn compare(
    recording: &Recording<'_>,
    rows: &mut Comparison<'_>,
    parts: usize,
) -> Result<(), ParityError> {
    let mut run = Run::new(recording, parts)?;
    check_before_the_first_step(recording, &run, rows)?;
    let (mut reports, mut after) = (Vec::new(), Vec::new());
    for step in 0..recording.steps() {
        let inputs = (0..parts).map(|_| run.inputs(step)).collect::<Result<_, _>>()?;
        let report = run.step(inputs);
        if step == 0 {
            check_gradients(recording, &run, rows)?;
            check_mean_logits(recording, &report, rows);
            check_logits_of_the_student(recording, &run, rows)?;
        }
        reports.push(report);
        after.push(run.values());
    }
    check_losses(recording, &reports, rows);
    if recording.fixture.wide() == DType::F64 {
        check_norms(recording, &after, rows);
        check_values(recording, &after, rows);
    }
    Ok(())
}

/// What a step makes on its way: student's samples, features, condition, logits, teacher's target, spectral vectors.
fn check_before_the_first_step(
    recording: &Recording<'_>,
    run: &Run<'_>,
    rows: &mut Comparison<'_>,
) -> Result<(), ParityError> {
    let AddTrainer { networks, method, .. } = &run.trainer;
    let inputs = run.inputs(0)?;
    let student = networks.denoiser(STUDENT).frozen();
    let of_heads = inputs.discriminator.as_ref().unwrap_or(&inputs.generator);
    for (phase, StudentInput { s, eps }) in [("g", &inputs.generator), ("d", of_heads)] {
        let x_s = method.student_diffusion.diffuse(inputs.x_0.0.clone(), eps.clone(), s);
        rows.check_tensor(&format!("step0.{phase}.x_s"), x_s.clone(), WITHIN);
        let output = student.predict(x_s.clone(), s, &inputs.prompts.captions);
        let x_hat = method.student_diffusion.x0(output, x_s, s);
        rows.check_tensor(&format!("step0.{phase}.x_hat"), x_hat, WITHIN);
    }

    let reals = features(run, &inputs, inputs.pixels.0.clone());
    let fakes = features(run, &inputs, recording.fixture.tensor("step0.d.x_hat", recording.fixture.wide())?);
    for (kind, features) in [("real", &reals), ("fake", &fakes)] {
        for (k, feature) in features.iter().enumerate() {
            rows.check_tensor(&format!("step0.d.f_{kind}.{k}"), feature.clone(), WITHIN);
        }
    }
    let c = condition(run, &inputs);
    rows.check_tensor("step0.c", c.clone(), WITHIN);

    // One iteration for the fakes, one for the real pictures; the student's turn iterates once more.
    let mut heads = networks.heads(HEADS).frozen();
    heads.power_iterate();
    check_logits(rows, "step0.d.logits_fake", &heads.logits(&fakes, Some(c.clone())));
    heads.power_iterate();
    check_logits(rows, "step0.d.logits_real", &heads.logits(&reals, Some(c)));
    for (name, value) in named_values(&*heads, heads_name) {
        let key = format!("step0.d.after.{name}");
        if is_spectral_vector(&name) && recording.fixture.has(&key) {
            rows.check_values(&key, &value, rows.computed(WITHIN));
        }
    }

    let x_hat = recording.fixture.tensor::<4>("step0.g.x_hat", recording.fixture.wide())?;
    let teacher = &inputs.teacher;
    let x_t = method.teacher_diffusion.diffuse(x_hat.clone(), teacher.eps.clone(), &teacher.t);
    rows.check_tensor("step0.g.x_t", x_t, WITHIN);
    let target = method.target(networks.denoiser(TEACHER), &inputs.prompts, teacher, x_hat);
    rows.check_tensor("step0.g.target", target, WITHIN);
    Ok(())
}

/// The heads have moved, the student has not: what its own update saw.
fn check_logits_of_the_student(
    recording: &Recording<'_>,
    run: &Run<'_>,
    rows: &mut Comparison<'_>,
) -> Result<(), ParityError> {
    let inputs = run.inputs(0)?;
    let fakes = features(run, &inputs, recording.fixture.tensor("step0.g.x_hat", recording.fixture.wide())?);
    let heads = run.trainer.networks.heads(HEADS).frozen();
    check_logits(rows, "step0.g.logits", &heads.logits(&fakes, Some(condition(run, &inputs))));
    Ok(())
}

fn features(run: &Run<'_>, inputs: &AddInputs<'_>, pixels: Tensor<4>) -> Vec<Tensor<3>> {
    run.trainer.networks.features(FEATURES).features(Pixels((inputs.real_view)(pixels)))
}

/// `c = [c_text; c_img]`, `[B, K]`.
fn condition(run: &Run<'_>, inputs: &AddInputs<'_>) -> Tensor<2> {
    let encoder = run.trainer.networks.features(IMAGE_ENCODER);
    let c_img = encoder.embedding(Pixels((inputs.embedding_view)(inputs.pixels.0.clone())));
    Tensor::cat(vec![inputs.prompts.captions.pooled.clone(), c_img], 1)
}

fn check_logits(rows: &mut Comparison<'_>, key: &str, logits: &[Logits]) {
    for (k, Logits(logits)) in logits.iter().enumerate() {
        rows.check_tensor(&format!("{key}.{k}"), logits.clone(), WITHIN);
    }
}

/// The first moment after one update is `(1 - beta_1)` times the gradient.
fn check_gradients(
    recording: &Recording<'_>,
    run: &Run<'_>,
    rows: &mut Comparison<'_>,
) -> Result<(), ParityError> {
    let mut state = State::default();
    for (optimizer, group, name) in
        [(OPTIMIZER_G, "g", student_name as fn(&str) -> String), (OPTIMIZER_D, "d", heads_name)]
    {
        let optimizer = run.trainer.networks.optimizer(optimizer).expect("the run has two");
        optimizer.save(group, &mut state);
        let part = 1.0 - optimizer.config().betas.0;
        let mut gradients = BTreeMap::new();
        for (key, path) in state.names(group).filter_map(|key| Some((key, key.strip_prefix("m.")?))) {
            gradients.insert(name(path), values(state.get(group, key)?.mul_scalar(1.0 / part)));
        }
        let prefix = format!("step0.{group}.grad.");
        check_named(recording, rows, &prefix, &gradients, OF_GRADIENTS, &|_| true);
    }
    Ok(())
}

/// The mean logit of each head, as the step reports it.
fn check_mean_logits(recording: &Recording<'_>, report: &StepReport, rows: &mut Comparison<'_>) {
    for name in ["logits_real", "logits_fake"] {
        let Some(means) = report.per_head(name) else {
            rows.fail(name, "the step does not report it");
            continue;
        };
        for (k, got) in means.iter().enumerate() {
            let key = format!("step0.d.{name}.{k}");
            match recording.fixture.numbers(&key) {
                Ok(logits) => {
                    let expected = logits.values.iter().sum::<f64>() / logits.values.len() as f64;
                    let tolerance = rows.computed(OF_MEANS).of(expected.abs());
                    rows.record(&format!("{key}, its mean"), (got - expected).abs(), tolerance);
                }
                Err(error) => rows.fail(&key, error),
            }
        }
    }
}

fn check_losses(recording: &Recording<'_>, reports: &[StepReport], rows: &mut Comparison<'_>) {
    let lambda = recording.config.hyper.lam;
    for (key, terms) in [
        ("d_real", &[("loss_d_real", 1.0)][..]),
        ("d_fake", &[("loss_d_fake", 1.0)]),
        ("r1", &[("r1", 1.0)]),
        ("loss_d", &[("loss_d", 1.0)]),
        ("adv_g", &[("loss_adv", 1.0)]),
        ("distill", &[("loss_distill", 1.0)]),
        ("loss_g", &[("loss_adv", 1.0), ("loss_distill", lambda)]),
        ("gradnorm_d", &[("grad_norm_d", 1.0)]),
        ("gradnorm_g", &[("grad_norm_g", 1.0)]),
    ] {
        let of_step = |report: &StepReport| {
            // What a step does not report is no number.
            let term = |(name, factor): &(&str, f64)| factor * report.get(name).unwrap_or(f64::NAN);
            vec![terms.iter().map(term).sum::<f64>()]
        };
        let got: Vec<Vec<f64>> = reports.iter().map(of_step).collect();
        let key = format!("loss.{key}");
        let wide = recording.fixture.wide();
        let tolerance = |step: usize| match (wide, step) {
            (DType::F64, _) => WITHIN,
            // As far as the library's own run in f32 is from its run in f64.
            (_, 0) => Tolerance::Rounding(recording.rounding(&key)),
            (..) => LATER_IN_F32,
        };
        rows.check_rows(&key, &got, tolerance);
    }
}

/// The norm of every parameter after every step.
fn check_norms(recording: &Recording<'_>, after: &[Values], rows: &mut Comparison<'_>) {
    let order = &recording.order;
    for (network, order) in [("student", &order.student), ("ema", &order.student), ("heads", &order.heads)] {
        let key = format!("norms.{network}");
        let expected = match recording.fixture.numbers(&key) {
            Ok(expected) if expected.shape == [after.len(), order.len()] => expected.values,
            Ok(expected) => {
                let shape = [after.len(), order.len()];
                rows.fail(&key, format!("expected shape {:?}, got {shape:?}", expected.shape));
                continue;
            }
            Err(error) => {
                rows.fail(&key, error);
                continue;
            }
        };
        let of_steps =
            after.iter().enumerate().flat_map(|(step, all)| order.iter().map(move |name| (step, all, name)));
        let compared = of_steps.zip(expected).filter(|((_, _, name), _)| is_trained(network, name)).map(
            |((step, all, name), expected)| {
                // A parameter that is not there has no norm.
                let got = all[network].get(name).map_or(f64::NAN, |value| norm(value));
                (format!("{name} in step {step}"), (got - expected).abs(), OF_PARAMETERS.of(expected.abs()))
            },
        );
        rows.record_worst(&key, compared);
    }
}

/// The values of some parameters after the heads' first update, after every step, and after the last.
fn check_values(recording: &Recording<'_>, after: &[Values], rows: &mut Comparison<'_>) {
    let (Some(first), Some(last)) = (after.first(), after.last()) else { return };
    let moved = |name: &str| is_trained("heads", name) && !is_spectral_vector(name);
    check_named(recording, rows, "step0.d.after.", &first["heads"], OF_PARAMETERS, &moved);
    for network in ["student", "ema", "heads"] {
        let trained = |name: &str| is_trained(network, name);
        check_named(recording, rows, &format!("final.{network}."), &last[network], OF_PARAMETERS, &trained);
    }
    for name in recording.fixture.keys("after.") {
        let (network, parameter) =
            name.strip_prefix("heads.").map_or(("student", name), |name| ("heads", name));
        if !is_trained(network, parameter) {
            continue;
        }
        let key = format!("after.{name}");
        let got: Option<Vec<Vec<f64>>> =
            after.iter().map(|all| all[network].get(parameter).cloned()).collect();
        match got {
            Some(got) => rows.check_rows(&key, &got, |_| OF_PARAMETERS),
            None => rows.fail(&key, format!("the {network} has no such parameter")),
        }
    }
}

/// Compares each tensor under `prefix` that is `wanted` with the value of its name.
fn check_named(
    recording: &Recording<'_>,
    rows: &mut Comparison<'_>,
    prefix: &str,
    got: &BTreeMap<String, Vec<f64>>,
    tolerance: Tolerance,
    wanted: &dyn Fn(&str) -> bool,
) {
    for name in recording.fixture.keys(prefix).filter(|name| wanted(name)) {
        let key = format!("{prefix}{name}");
        match got.get(name) {
            Some(got) => rows.check_values(&key, got, rows.computed(tolerance)),
            None => rows.fail(&key, "no parameter of this name was trained"),
        }
    }
}

/// `|x|_2`.
fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// `u` and `v` of a spectral norm.
fn is_spectral_vector(name: &str) -> bool {
    name.ends_with(".weight_u") || name.ends_with(".weight_v")
}

/// A bias in front of a normalisation has no gradient but rounding, which AdamW divides by itself.
pub(super) fn is_trained(network: &str, name: &str) -> bool {
    let in_front =
        name.ends_with(".main.0.0.bias") || name.contains(".main.") && name.ends_with(".fn.0.bias");
    network != "heads" || !in_front
}
