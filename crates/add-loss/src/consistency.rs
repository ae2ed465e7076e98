//! Latent consistency distillation: a step of the teacher's solver, and the distance between two ends of it.
//!
//! The student's `f(x_t, t)` is to be the same all along a trajectory of the teacher's sampling. So it is compared at `t`,
//! where a real picture was noised to, with itself at `t - k`, where one step of the teacher leads from there. Sources: Song
//! et al. 2023 (consistency models); Luo et al. 2023 (latent consistency models), algorithm 1.

use add_plugin::{DenoiserCall, NoiseSchedule, Timesteps};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::diffuse;

/// The timesteps that a consistency model knows, ascending: every `skip`-th of `total`, down from the last. Luo et al. 2023,
/// section 4.3.
///
/// Of 1000 with a `skip` of 20 these are 19, 39 to 999.
///
/// # Panics
/// Panics when `skip` is 0.
pub fn consistency_timesteps(total: usize, skip: usize) -> Vec<usize> {
    let mut known: Vec<usize> = (0..total).rev().step_by(skip).collect();
    known.reverse();
    known
}

/// Where a solver step of `skip` timesteps from `t` ends: `max(t - k, 0)`. Luo et al. 2023, section 4.3.
pub fn skipped(t: &Timesteps, skip: usize) -> Timesteps {
    Timesteps(t.0.iter().map(|t| (t - skip as f64).max(0.0)).collect())
}

/// One DDIM step of the teacher from `x_t` at `t` to `s`: `alpha_s x_0_hat + sigma_s eps_hat`, both estimates being the
/// teacher's at `t`. Luo et al. 2023, section 4.2 and 4.3, `z_hat` of algorithm 1; Song et al. 2021, Eq. (12).
///
/// `x_t` is `[B, C, H, W]`. The step is linear in the teacher's output, so that of a guided output,
/// `output(null) + w (output(y) - output(null))`, is the paper's `z + (1 + omega) Psi(y) - omega Psi(null)` with
/// `omega = w - 1`.
pub fn solver_step(
    x_t: Tensor<4>,
    t: &Timesteps,
    s: &Timesteps,
    schedule: &NoiseSchedule,
    teacher: &mut DenoiserCall<'_>,
) -> Tensor<4> {
    let estimate = teacher(x_t, t);
    let at = schedule.coefficients(s, &estimate.x0);
    diffuse(estimate.x0, estimate.epsilon, &at)
}

/// How the difference of two pictures becomes one number, the mean over all their values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum ConsistencyDistance {
    /// `d^2` of each difference `d`.
    SquaredL2(),
    /// `sqrt(d^2 + c^2) - c`, the pseudo-Huber distance: `d^2 / 2c` near 0, `|d| - c` far from it.
    Huber(f64),
}

impl Default for ConsistencyDistance {
    /// With the `c` of the latent consistency models' public training code.
    fn default() -> Self {
        Self::Huber(1e-3)
    }
}

/// `E[d(f_theta(x_t, t), f_target(x_s, s))]` `[1]`, the mean over batch and values. Song et al. 2023, Eq. (7) with a weight of
/// 1; Luo et al. 2023, section 4.3. The pseudo-Huber distance is that of Song and Dhariwal 2023, section 3.3, taken of each
/// value in place of the whole picture.
///
/// Both are `[B, C, H, W]`. The gradient flows through `prediction`; a `target` on the plain device is a constant.
pub fn consistency(prediction: Tensor<4>, target: Tensor<4>, distance: ConsistencyDistance) -> Tensor<1> {
    let squared = (prediction - target).square();
    match distance {
        ConsistencyDistance::SquaredL2() => squared.mean(),
        ConsistencyDistance::Huber(c) => (squared.add_scalar(c * c).sqrt() - c).mean(),
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use add_plugin::{Estimate, Prediction, per_sample};
    use burn::tensor::{DType, Device, TensorData};
    use proptest::prelude::*;

    use super::*;
    use crate::{boundary, consistency_function, epsilon, guide, x0};

    fn pictures<const N: usize>(values: [f64; N]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), [N, 1, 1, 1]), (&Device::flex(), DType::F64))
    }

    fn number(x: Tensor<4>) -> f64 {
        x.into_scalar()
    }

    /// `alpha_bar` falls evenly from 0.95 to 0.05.
    fn schedule() -> NoiseSchedule {
        let alpha_bars: Vec<f64> = (0..100).map(|t| 0.95 - 0.9 * f64::from(t) / 99.0).collect();
        NoiseSchedule::from_alphas_cumprod(&alpha_bars)
    }

    fn distance(x: f64, target: f64, distance: ConsistencyDistance) -> f64 {
        consistency(pictures([x]), pictures([target]), distance).into_scalar()
    }

    #[test]
    fn the_released_solvers_timesteps() {
        let known = consistency_timesteps(1000, 20);
        assert_eq!((known.len(), known[0], known[1], known[49]), (50, 19, 39, 999));
        assert_eq!(skipped(&Timesteps::whole([999, 39, 19]), 20), Timesteps::whole([979, 19, 0]));
    }

    #[test]
    fn the_last_timestep_is_known_whatever_is_skipped() {
        assert_eq!(consistency_timesteps(10, 4), [1, 5, 9]);
        assert_eq!(consistency_timesteps(10, 10), [9]);
        assert_eq!(consistency_timesteps(3, 7), [2]);
    }

    #[test]
    fn distances_by_hand() {
        // Differences 3 and -4: (9 + 16) / 2; with c = 4: sqrt(9 + 16) - 4 = 1 and sqrt(32) - 4.
        let mean = |distance| -> f64 {
            consistency(pictures([5.0, 0.0]), pictures([2.0, 4.0]), distance).into_scalar()
        };
        assert_eq!(mean(ConsistencyDistance::SquaredL2()), 12.5);
        let huber = f64::midpoint(1.0, 32.0_f64.sqrt() - 4.0);
        assert!((mean(ConsistencyDistance::Huber(4.0)) - huber).abs() < 1e-15);
    }

    #[test]
    fn the_gradient_of_the_huber_distance_by_hand() {
        // d / sqrt(d^2 + c^2) over two values: 3 / 5 and -4 / sqrt(32).
        let x = pictures([5.0, 0.0]).autodiff().require_grad();
        let gradients =
            consistency(x.clone(), pictures([2.0, 4.0]), ConsistencyDistance::Huber(4.0)).backward();
        let gradient: Vec<f64> = x.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
        assert!((gradient[0] - 0.3).abs() < 1e-15 && (gradient[1] + 2.0 / 32.0_f64.sqrt()).abs() < 1e-15);
    }

    /// A step of a linear teacher, `eps_hat = a x + b y`, on alpha_bar 0.36 and 0.64, worked out in Python's float64:
    ///
    /// ```python
    /// x, w, a = 0.5, 4.0, 0.25
    /// (alpha_t, sigma_t), (alpha_s, sigma_s) = (0.6, 0.8), (0.8, 0.6)
    /// eps = lambda b: a * x + b
    /// guided = eps(-0.3) + w * (eps(0.1) - eps(-0.3))
    /// x0 = (x - sigma_t * guided) / alpha_t
    /// print(alpha_s * x0 + sigma_s * guided)  # 0.0016666666666664831
    /// ```
    #[test]
    fn a_guided_solver_step_by_hand() {
        let schedule = NoiseSchedule::from_alphas_cumprod(&[0.64, 0.36]);
        let mut teacher = |x: Tensor<4>, t: &Timesteps| {
            let output = |b: f64| x.clone() * 0.25 + b;
            let guided = guide(output(0.1), output(-0.3), per_sample(&[4.0], &x));
            let at = schedule.coefficients(t, &x);
            Estimate { x0: x0(Prediction::Epsilon, guided.clone(), x, &at), epsilon: guided }
        };
        let (t, s) = (Timesteps::whole([1]), Timesteps::whole([0]));
        let step = number(solver_step(pictures([0.5]), &t, &s, &schedule, &mut teacher));
        assert!((step - 0.001_666_666_666_666_483).abs() < 1e-15, "{step}");
    }

    proptest! {
        #[test]
        fn a_perfect_teachers_step_stays_on_its_trajectory_and_a_perfect_students_loss_is_zero(
            x_0 in -2.0..2.0_f64, eps in -2.0..2.0_f64, t in 1..100_usize, skip in 1..120_usize, form in 0..3_usize,
        ) {
            let (schedule, prediction) =
                (schedule(), [Prediction::Epsilon, Prediction::V, Prediction::X0][form]);
            let at = |t: &Timesteps| diffuse(pictures([x_0]), pictures([eps]), &schedule.coefficients(t, &pictures([0.0])));
            let mut teacher = |x: Tensor<4>, t: &Timesteps| {
                let at = schedule.coefficients(t, &x);
                let velocity = pictures([eps]) * at.alpha.clone() - pictures([x_0]) * at.sigma.clone();
                let output = [pictures([eps]), velocity, pictures([x_0])][form].clone();
                Estimate {
                    x0: x0(prediction, output.clone(), x.clone(), &at),
                    epsilon: epsilon(prediction, output, x, &at),
                }
            };
            let from = Timesteps::whole([t]);
            let to = skipped(&from, skip);
            let landed = solver_step(at(&from), &from, &to, &schedule, &mut teacher);
            prop_assert!((number(landed.clone()) - number(at(&to))).abs() < 1e-12);

            // Which factors stand at the two ends does not matter to a function that knows its trajectory: it says
            // `(x_0 - c_skip x) / c_out` of each point, and so x_0 at both ends.
            let f = |x: Tensor<4>, t: &Timesteps| {
                let factors = boundary(t.0[0], 10.0);
                let estimate = (pictures([x_0]) - x.clone() * factors.skip) / factors.out;
                consistency_function(x, estimate, &[factors])
            };
            if to.0[0] > 0.0 {
                let loss = consistency(f(at(&from), &from), f(landed, &to), ConsistencyDistance::SquaredL2());
                prop_assert!(loss.into_scalar::<f64>() < 1e-24);
            }
        }

        #[test]
        fn a_step_of_the_guided_teacher_is_the_papers_sum_of_two_steps(
            x in -2.0..2.0_f64, with in -2.0..2.0_f64, without in -2.0..2.0_f64, omega in 0.0..14.0_f64, t in 20..100_usize,
        ) {
            let schedule = schedule();
            let step = |output: f64| {
                let mut teacher = |x: Tensor<4>, t: &Timesteps| {
                    let at = schedule.coefficients(t, &x);
                    Estimate { x0: x0(Prediction::Epsilon, pictures([output]), x, &at), epsilon: pictures([output]) }
                };
                let from = Timesteps::whole([t]);
                number(solver_step(pictures([x]), &from, &skipped(&from, 20), &schedule, &mut teacher))
            };
            let guided = guide(pictures([with]), pictures([without]), pictures([omega + 1.0]));
            let both = x + (1.0 + omega) * (step(with) - x) - omega * (step(without) - x);
            prop_assert!((step(number(guided)) - both).abs() < 1e-9);
        }

        #[test]
        fn huber_is_squared_near_zero_and_absolute_far_from_it(d in 1e-3..1e3_f64, c in 1e-3..1.0_f64) {
            let huber = distance(d, 0.0, ConsistencyDistance::Huber(c));
            let rounding = 1e-12 * d.max(1.0);
            prop_assert!(huber <= (d + rounding).min(d * d / (2.0 * c) + rounding) && huber >= d - c - rounding);
            // sqrt(d^2 + c^2) - c = d^2 / (sqrt(d^2 + c^2) + c)
            let (near, far) = (distance(1e-4 * c, 0.0, ConsistencyDistance::Huber(c)), distance(1e4, 0.0, ConsistencyDistance::Huber(c)));
            prop_assert!((near / (0.5e-8 * c) - 1.0).abs() < 1e-6, "{near}");
            prop_assert!((far - (1e4 - c)).abs() < 1e-4, "{far}");
        }

        #[test]
        fn it_is_zero_only_where_both_ends_agree(x in -2.0..2.0_f64, shift in 0.01..1.0_f64, c in 1e-3..1.0_f64) {
            for which in [ConsistencyDistance::SquaredL2(), ConsistencyDistance::Huber(c)] {
                prop_assert!(distance(x, x, which).abs() < 1e-15);
                prop_assert!(distance(x + shift, x, which) > 0.0);
                prop_assert!((distance(x + shift, x, which) - distance(x, x + shift, which)).abs() < 1e-12);
            }
        }
    }
}
