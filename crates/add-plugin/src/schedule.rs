//! Family `Schedule`: how much signal and noise there is at each training timestep.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Fields, Plugin, Timesteps, fields, per_sample, registry::Family};

/// A noise schedule, as the recipe states it.
pub trait Schedule: Family {
    /// `alpha_bar_t = alpha_t^2` for `t = 0 .. steps`, strictly decreasing, in `[0, 1)`.
    fn alphas_cumprod(&self) -> Vec<f64>;

    /// The fields of diffusers' `scheduler_config.json` that say the same.
    fn scheduler_fields(&self) -> Fields {
        let alpha_bars = self.alphas_cumprod();
        let before = std::iter::once(&1.0).chain(&alpha_bars);
        let betas: Vec<f64> = before.zip(&alpha_bars).map(|(before, now)| 1.0 - now / before).collect();
        fields(json!({ "num_train_timesteps": betas.len(), "trained_betas": betas }))
    }
}

impl Plugin<dyn Schedule> {
    /// The tables that the recipe's schedule stands for.
    pub fn tables(&self) -> NoiseSchedule {
        NoiseSchedule::from_alphas_cumprod(&self.alphas_cumprod())
    }
}

/// The tables `alpha_t` and `sigma_t`, with `alpha_t^2 + sigma_t^2 = 1`.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    alpha: Vec<f64>,
    sigma: Vec<f64>,
}

impl NoiseSchedule {
    /// From `alpha_bar_t`.
    ///
    /// # Panics
    /// Panics when the table is empty or leaves `[0, 1]`.
    pub fn from_alphas_cumprod(alphas_cumprod: &[f64]) -> Self {
        assert!(!alphas_cumprod.is_empty(), "a schedule has at least one step");
        assert!(alphas_cumprod.iter().all(|a| (0.0..=1.0).contains(a)), "alpha_bar lies in [0, 1]");
        let alpha = alphas_cumprod.iter().map(|a| a.sqrt()).collect();
        let sigma = alphas_cumprod.iter().map(|a| (1.0 - a).sqrt()).collect();
        Self { alpha, sigma }
    }

    /// Number of training timesteps.
    pub fn steps(&self) -> usize {
        self.alpha.len()
    }

    /// `alpha_t`, the factor of the signal.
    pub fn alpha(&self, t: usize) -> f64 {
        self.alpha[t]
    }

    /// `sigma_t`, the factor of the noise.
    pub fn sigma(&self, t: usize) -> f64 {
        self.sigma[t]
    }

    /// `SNR(t) = alpha_t^2 / sigma_t^2`.
    pub fn snr(&self, t: usize) -> f64 {
        (self.alpha[t] / self.sigma[t]).powi(2)
    }

    /// Whether the last timestep holds no signal at all.
    pub fn has_zero_terminal_snr(&self) -> bool {
        self.alpha[self.steps() - 1] == 0.0
    }

    /// `(alpha_t, sigma_t)` per sample, each `[B, 1, 1, 1]`, for a tensor like `like`.
    pub fn coefficients(&self, t: &Timesteps, like: &Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let alpha: Vec<f64> = t.0.iter().map(|&t| self.alpha[t]).collect();
        let sigma: Vec<f64> = t.0.iter().map(|&t| self.sigma[t]).collect();
        (per_sample(&alpha, like), per_sample(&sigma, like))
    }
}

/// What a denoiser's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prediction {
    /// The noise `eps`.
    Epsilon,
    /// The velocity `v = alpha_t eps - sigma_t x_0`.
    V,
    /// The clean sample `x_0`.
    X0,
}
