//! Euler's method on rectified flow against the plain formula, and against diffusers' `FlowMatchEulerDiscreteScheduler`.

use add_plugin::{Estimate, NetworkTime, NoiseSchedule, SamplerContext, Start, Timesteps};
use burn::tensor::{DType, Device, Tensor, TensorData};
use proptest::prelude::*;

use crate::testing::recipe;

/// The samples' first state.
const NOISE: [f64; 4] = [0.3, -1.1, 0.8, 2.0];

fn rectified(shift: f64) -> NoiseSchedule {
    NoiseSchedule::from_formula(1000, move |t| {
        let tau = (t + 1.0) / 1000.0;
        let total = 1.0 - tau + shift * tau;
        ((1.0 - tau) / total, shift * tau / total)
    })
    .with_network_time(NetworkTime::NoiseLevel)
}

/// A network that answers `u = tanh(0.9 x - 0.4 time / 1000)`.
fn network(x: &Tensor<4>, time: f64) -> Tensor<4> {
    x.clone().mul_scalar(0.9).sub_scalar(0.4 * time / 1000.0).tanh()
}

/// What a sampler makes of [`NOISE`], and the times that the network was told.
fn run(sampler: &str, schedule: &NoiseSchedule, steps: usize) -> (Vec<f64>, Vec<f64>) {
    let noise =
        Tensor::from_data(TensorData::new(NOISE.to_vec(), [1, 1, 2, 2]), (&Device::flex(), DType::F64));
    let mut told = Vec::new();
    let mut denoiser = |x_t: Tensor<4>, t: &Timesteps| {
        let time = schedule.network_times(t).0[0];
        told.push(time);
        let (alpha, sigma) = schedule.level(t.0[0]);
        let u = network(&x_t, time);
        Estimate { x0: x_t.clone() - u.clone().mul_scalar(sigma), epsilon: x_t + u.mul_scalar(alpha) }
    };
    let mut context = SamplerContext {
        steps,
        schedule,
        student_timesteps: &[],
        noise,
        start: Start::Noise,
        fresh_noise: &mut |_| unreachable!("Euler's method is deterministic"),
    };
    let x = recipe(sampler).sample(&mut context, &mut denoiser);
    (x.into_data().try_to_vec().unwrap(), told)
}

fn close(got: &[f64], want: &[f64], tolerance: f64) -> bool {
    got.len() == want.len() && got.iter().zip(want).all(|(got, want)| (got - want).abs() <= tolerance)
}

/// diffusers 0.42.1, `FlowMatchEulerDiscreteScheduler(shift=...)` on the same network in double precision; the scheduler
/// keeps its levels in f32. Where the spacing is `Trailing`, after `set_timesteps(sigmas=linspace(1, 1 / n, n))`, as Flux's
/// pipeline calls it.
#[test]
fn euler_gives_the_numbers_of_diffusers() {
    type Case<'a> = (&'a str, f64, usize, &'a [f64], [f64; 4]);
    let cases: [Case<'_>; 4] = [
        (
            "Euler(spacing: Linspace)",
            1.0,
            4,
            &[1000.0, 667.0, 334.0, 1.0],
            [0.275_179_25, -0.366_871_23, 0.457_777_27, 1.148_483_96],
        ),
        (
            "Euler(spacing: Linspace)",
            1.0,
            5,
            &[1000.0, 750.25, 500.5, 250.75, 1.0],
            [0.263_946_61, -0.385_176_68, 0.455_220_67, 1.152_483_91],
        ),
        (
            "Euler()",
            3.0,
            4,
            &[1000.0, 900.0, 750.0, 500.0],
            [0.279_773_22, -0.347_588_61, 0.458_645_17, 1.146_397_72],
        ),
        ("Euler()", 3.0, 1, &[1000.0], [0.429_272_59, -0.216_829_13, 0.490_493_09, 1.114_648_35]),
    ];
    for (sampler, shift, steps, times, want) in cases {
        let (x, told) = run(sampler, &rectified(shift), steps);
        assert!(close(&told, times, 1e-9), "{sampler}, shift {shift}: {told:?}");
        assert!(close(&x, &want, 2e-7), "{sampler}, shift {shift}, {steps} steps: {x:?}");
    }
}

proptest! {
    /// `x <- x + (sigma' - sigma) u`.
    #[test]
    fn euler_on_rectified_flow_is_the_plain_formula(
        shift in 0.2..8.0_f64, steps in 1_usize..30, linspace in any::<bool>(),
    ) {
        let schedule = rectified(shift);
        let sampler = if linspace { "Euler(spacing: Linspace)" } else { "Euler()" };
        let (x, told) = run(sampler, &schedule, steps);
        let sigmas: Vec<f64> = told.iter().map(|time| time / 1000.0).chain([0.0]).collect();
        let plain = NOISE.map(|mut x| {
            for pair in sigmas.windows(2) {
                x += (pair[1] - pair[0]) * (0.9 * x - 0.4 * pair[0]).tanh();
            }
            x
        });
        prop_assert!(close(&x, &plain, 1e-12), "{x:?} {plain:?}");
    }
}
