//! One trajectory of a sampler.
//!
//! `x64` `[n + 1, B, C, H, W]` are the library's samples in f64, before each step and after the last; `timesteps`
//! where it asked. `x`, `model_in`, `model_out`, `x0` and `sigmas` (noise over signal) are the same run in f32,
//! `init_noise_sigma` the factor of the noise at the start, `noise` what it drew.

use add_loss::{epsilon, x0};
use add_plugin::{Estimate, SamplerContext, Timesteps};
use burn::tensor::{DType, Tensor};
use serde_json::Value;

use super::plan::{Plan, Space};
use crate::{
    Fixture, Numbers, ParityError,
    row::{Comparison, NO_F64, Tolerance, largest_difference, values},
};

/// What a sampler did.
#[derive(Default)]
struct Record {
    timesteps: Vec<f64>,
    inputs: Vec<Vec<f64>>,
    outputs: Vec<f64>,
    estimates: Vec<f64>,
}

pub(super) fn compare(
    fixture: &Fixture,
    rows: &mut Comparison,
    name: &str,
    facts: &Value,
    plan: &Plan,
) -> Result<(), ParityError> {
    let key = |what: &str| format!("{name}.{what}");
    let steps = facts["steps"].as_u64().map(|steps| steps as usize).filter(|steps| *steps > 0);
    let steps = steps.ok_or_else(|| ParityError::content("steps", "a positive number", &facts["steps"]))?;
    let noise = fixture.tensor::<4>("in.noise", fixture.wide())?;
    let shape = noise.dims();
    let size = shape.iter().product::<usize>();
    let fresh = fixture.numbers(&key("noise"))?.values;
    if fresh.len() < steps * size {
        return Err(ParityError::content(&key("noise"), steps * size, fresh.len()));
    }
    let mut record = Record::default();
    let (a, b) = (fixture.scalar("in.a")?, fixture.scalar("in.b")?);
    let mut denoiser = |x_t: Tensor<4>, t: &Timesteps| {
        record.inputs.push(values(x_t.clone()));
        record.timesteps.push(t.0[0]);
        let time = b * t.0[0] / 1000.0;
        let output = x_t.clone().mul_scalar(a).add_scalar(time).tanh();
        let at = plan.schedule.coefficients(t, &x_t);
        let estimate = Estimate {
            x0: x0(plan.prediction, output.clone(), x_t.clone(), &at),
            epsilon: epsilon(plan.prediction, output.clone(), x_t, &at),
        };
        record.outputs.extend(values(output));
        record.estimates.extend(values(estimate.x0.clone()));
        estimate
    };
    let draw = |i: usize| {
        let values = fresh[i * size..(i + 1) * size].to_vec();
        Numbers { shape: shape.to_vec(), values }
            .tensor(fixture.wide(), fixture.device())
            .expect("the noise has rank 4")
    };
    let mut context = SamplerContext {
        steps,
        schedule: &plan.schedule,
        student_timesteps: &[],
        noise: noise.clone(),
        start: add_plugin::Start::Noise,
        fresh_noise: &mut |i| draw(i),
    };
    let sample = values(plan.sampler.sample(&mut context, &mut denoiser));
    let announced = plan.sampler.timesteps(&context);
    if announced == record.timesteps {
        rows.check_values(&key("timesteps"), &announced, Tolerance::Absolute(0.0));
    } else {
        let problem = format!("announced {announced:?}, visited {:?}", record.timesteps);
        rows.fail(&key("timesteps"), problem);
    }
    match fixture.wide() {
        DType::F64 => check_in_double_precision(fixture, rows, &key("x64"), &record, &sample, plan),
        _ => rows.skip(&key("x64"), NO_F64),
    }
    check_in_single_precision(fixture, rows, name, &record, &sample, plan, &values(noise));
    Ok(())
}

/// What turns the library's `x` into `x_t`.
fn scale(plan: &Plan, t: f64) -> f64 {
    if plan.space == Space::VarianceExploding { plan.schedule.alpha(t) } else { 1.0 }
}

/// Every state by itself, since their sizes differ; the row is the worst of them.
fn check_in_double_precision(
    fixture: &Fixture,
    rows: &mut Comparison,
    key: &str,
    record: &Record,
    sample: &[f64],
    plan: &Plan,
) {
    let expected = match fixture.numbers(key) {
        Ok(expected) => expected.values,
        Err(error) => return rows.fail(key, error),
    };
    let (size, states) = (sample.len(), record.inputs.len() + 1);
    if expected.len() != states * size {
        return rows.fail(key, format!("expected {} values, got {}", expected.len(), states * size));
    }
    let scales = record.timesteps.iter().map(|&t| scale(plan, t)).chain([1.0]);
    let got = record.inputs.iter().map(Vec::as_slice).chain([sample]);
    let compared = got.zip(expected.chunks_exact(size)).zip(scales).enumerate();
    let compared = compared.map(|(i, ((got, expected), scale))| {
        let expected: Vec<f64> = expected.iter().map(|x| x * scale).collect();
        let largest = expected.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        (format!("state {i}"), largest_difference(got, &expected), plan.tolerance * largest)
    });
    rows.record_worst(key, compared);
}

fn check_in_single_precision(
    fixture: &Fixture,
    rows: &mut Comparison,
    name: &str,
    record: &Record,
    sample: &[f64],
    plan: &Plan,
    noise: &[f64],
) {
    // What is small beside the largest state carries the rounding of that state, so the library's difference is not
    // held to the size of what is compared.
    let own = fixture.rounding(name);
    let tolerance = Tolerance::Relative { part: 2e-6, floor: 5.0 * own / 2e-6 };
    let mut check = |what: &str, got: &[f64]| {
        let key = format!("{name}.{what}");
        if fixture.has(&key) {
            rows.check_values(&key, got, tolerance);
        }
    };
    let mut states = Vec::new();
    for (input, &t) in record.inputs.iter().zip(&record.timesteps) {
        states.extend(input.iter().map(|x| x / scale(plan, t)));
    }
    states.extend(sample);
    check("x", &states);
    check("model_in", &record.inputs.concat());
    check("model_out", &record.outputs);
    check("x0", &record.estimates);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    check("init_noise_sigma", &[dot(&states[..noise.len()], noise) / dot(noise, noise)]);
    if plan.levels_at_timesteps {
        let level = |&t: &f64| plan.schedule.sigma(t) / plan.schedule.alpha(t);
        let levels: Vec<f64> = record.timesteps.iter().map(level).chain([0.0]).collect();
        check("sigmas", &levels);
    } else if fixture.has(&format!("{name}.sigmas")) {
        rows.skip(
            &format!("{name}.sigmas"),
            "the plugin does not show its levels; the states depend on them",
        );
    }
}
