//! Rectified flow: straight trajectories from noise to pictures, learnt from pairs of both.
//!
//! On a straight line `z_tau = (1 - tau) x_0 + tau eps` from a picture at 0 to its noise at 1 the flow is `u = eps - x_0`
//! everywhere. A diffusion model's `x_t = alpha_t x_0 + sigma_t eps` is `alpha_t + sigma_t` times the point of that line at
//! `tau = sigma_t / (alpha_t + sigma_t)`, so a model of any schedule can be straightened as it is: only its input is scaled and
//! its time named otherwise. Sources: Liu et al. 2022 (rectified flow, arXiv 2209.03003), whose time runs from noise at 0 to
//! pictures at 1; Liu et al. 2023 (InstaFlow, arXiv 2309.06380).

use add_plugin::NoiseSchedule;
use burn::tensor::Tensor;

/// `tau = sigma / (alpha + sigma)`, where a point of a diffusion model lies on the line from its picture, 0, to its noise, 1.
pub fn line_time(alpha: f64, sigma: f64) -> f64 {
    sigma / (alpha + sigma)
}

/// The timestep of `schedule` that lies nearest to `tau` on the line; of two that are as near, the earlier.
pub fn timestep_on_line(schedule: &NoiseSchedule, tau: f64) -> usize {
    let at = |t: usize| {
        let (alpha, sigma) = schedule.level(t as f64);
        line_time(alpha, sigma)
    };
    // It ascends with the timestep.
    let (mut low, mut high) = (0, schedule.steps() - 1);
    while low < high {
        let middle = usize::midpoint(low, high);
        if at(middle) < tau { low = middle + 1 } else { high = middle }
    }
    match low.checked_sub(1) {
        Some(before) if (tau - at(before)) <= (at(low) - tau) => before,
        _ => low,
    }
}

/// `E|u - (eps - x_0)|^2` `[1]`, the mean over batch and values: what a flow that goes straight from `eps` to `x_0` is compared
/// with. Liu et al. 2022, Eq. (1); of pairs that a model made, one application of reflow.
///
/// All are `[B, C, H, W]`; `u` may be on a tape, `x_0` and `eps` lie on the plain device.
pub fn straight_flow(u: Tensor<4>, x_0: Tensor<4>, eps: Tensor<4>) -> Tensor<1> {
    (u - (eps - x_0)).square().mean()
}

#[cfg(test)]
mod tests {
    use add_plugin::{Coefficients, Prediction};
    use burn::tensor::{DType, Device, TensorData};
    use proptest::prelude::*;

    use super::*;
    use crate::{diffuse, flow};

    fn pictures(values: &[f64]) -> Tensor<4> {
        let data = TensorData::new(values.to_vec(), [values.len(), 1, 1, 1]);
        Tensor::from_data(data, (&Device::flex(), DType::F64))
    }

    fn number(x: Tensor<4>) -> f64 {
        x.into_scalar()
    }

    /// `alpha = cos` and `sigma = sin` of angles that end at pure noise.
    fn cosine(total: usize) -> NoiseSchedule {
        let alpha = |t: usize| (std::f64::consts::FRAC_PI_2 * (t + 1) as f64 / total as f64).cos();
        let alpha_bars: Vec<f64> = (0..total).map(|t| alpha(t).powi(2)).collect();
        NoiseSchedule::from_alphas_cumprod(&alpha_bars)
    }

    #[test]
    fn by_hand() {
        // alpha 0.6 and sigma 0.8 lie at 0.8 / 1.4; pure noise at 1, the clean end at 0.
        assert!((line_time(0.6, 0.8) - 4.0 / 7.0).abs() < 1e-15);
        assert!((line_time(0.0, 1.0) - 1.0).abs() < 1e-15 && line_time(1.0, 0.0).abs() < 1e-15);
        // Flows 3 and -4 against eps - x_0 of 1 and -2: (4 + 4) / 2.
        let loss = straight_flow(pictures(&[3.0, -4.0]), pictures(&[1.0, 0.5]), pictures(&[2.0, -1.5]));
        assert!((loss.into_scalar::<f64>() - 4.0).abs() < 1e-15);
    }

    #[test]
    fn a_rectified_flows_own_timesteps_are_its_times() {
        let schedule = NoiseSchedule::from_formula(10, |t| {
            let tau = (t + 1.0) / 10.0;
            (1.0 - tau, tau)
        });
        let nearest: Vec<usize> =
            [0.0, 0.14, 0.16, 0.5, 0.96, 1.0].map(|tau| timestep_on_line(&schedule, tau)).into();
        assert_eq!(nearest, [0, 0, 1, 4, 9, 9]);
    }

    #[test]
    fn the_gradient_is_twice_the_difference_over_the_number_of_values() {
        let u = pictures(&[3.0, -4.0]).autodiff().require_grad();
        let eps = pictures(&[2.0, -1.5]);
        let loss = straight_flow(u.clone(), pictures(&[1.0, 0.5]), eps);
        let gradient: Vec<f64> = u.grad(&loss.backward()).unwrap().into_data().try_to_vec().unwrap();
        assert!((gradient[0] - 2.0).abs() < 1e-15 && (gradient[1] + 2.0).abs() < 1e-15, "{gradient:?}");
    }

    proptest! {
        #[test]
        fn no_timestep_is_nearer_on_the_line(total in 1_usize..300, tau in 0.0..1.0_f64) {
            let schedule = cosine(total);
            let off = |t: usize| {
                let (alpha, sigma) = schedule.level(t as f64);
                (line_time(alpha, sigma) - tau).abs()
            };
            let found = timestep_on_line(&schedule, tau);
            prop_assert!((0..total).all(|t| off(t) >= off(found) - 1e-12));
        }

        /// One step of Euler along a straight flow, from anywhere, is at the picture; so is its estimate.
        #[test]
        fn a_flow_without_loss_is_at_the_picture_in_one_step(
            x_0 in -2.0..2.0_f64, eps in -2.0..2.0_f64, angle in 0.02..1.57_f64,
        ) {
            let at = Coefficients::variance_preserving(pictures(&[angle.cos()]), pictures(&[angle.sin()]));
            let x_t = diffuse(pictures(&[x_0]), pictures(&[eps]), &at);
            // What a network that predicts v says of this point.
            let v = pictures(&[angle.cos() * eps - angle.sin() * x_0]);
            let u = flow(Prediction::V, v, x_t.clone(), &at);
            let loss: f64 = straight_flow(u.clone(), pictures(&[x_0]), pictures(&[eps])).into_scalar();
            prop_assert!(loss < 1e-24);
            let z = number(x_t) / (angle.cos() + angle.sin());
            prop_assert!((z - line_time(angle.cos(), angle.sin()) * number(u) - x_0).abs() < 1e-9);
        }
    }
}
