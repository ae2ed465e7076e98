//! Family `Weighting`: weight `c(t)` and target of the distillation loss, ADD Eq. (4).

use burn::tensor::Tensor;

use crate::{NoiseSchedule, Timesteps, registry::Family};

/// A distillation objective, as the recipe states it.
///
/// Most objectives only weigh; noise-free score distillation also replaces the target, so the target has a
/// default: the teacher's guided estimate of `x_0`.
pub trait Weighting: Family {
    /// `c(t)`.
    fn weight(&self, schedule: &NoiseSchedule, t: f64) -> f64;

    /// `x_hat_psi`, what the student is pulled towards, on the plain device.
    fn target(&self, student: &StudentSample, teacher: &dyn Teacher) -> Tensor<4> {
        teacher.x0(&student.x_hat_theta_t, &student.t)
    }

    /// The smallest teacher timestep at which the weight is meant to be used.
    fn minimum_timestep(&self) -> usize {
        0
    }
}

/// A student output, diffused for the teacher; cut off from the tape.
#[derive(Debug, Clone)]
pub struct StudentSample {
    /// `x_hat_theta` `[B, C, H, W]`.
    pub x_hat_theta: Tensor<4>,
    /// `x_hat_theta_t = alpha_t x_hat_theta + sigma_t eps'`.
    pub x_hat_theta_t: Tensor<4>,
    /// Teacher timesteps.
    pub t: Timesteps,
}

/// Which text the teacher is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    /// The sample's own caption `y`.
    Caption,
    /// The empty caption.
    Null,
    /// The recipe's negative prompt `y_neg`.
    Negative,
}

/// The frozen teacher, as a weighting sees it.
pub trait Teacher {
    /// The guided estimate of `x_0` after the recipe's number of consecutive denoising steps.
    fn x0(&self, x_t: &Tensor<4>, t: &Timesteps) -> Tensor<4>;

    /// The noise estimate `eps_psi(x_t, t; prompt)`, unguided.
    fn epsilon(&self, x_t: &Tensor<4>, t: &Timesteps, prompt: Prompt) -> Tensor<4>;

    /// The teacher's noise schedule.
    fn schedule(&self) -> &NoiseSchedule;
}
