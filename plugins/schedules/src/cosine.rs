//! The cosine schedule.
//!
//! `alpha_bar_t = f(t) / f(0)`, `f(t) = cos^2((t / T + s) / (1 + s) * pi / 2)`, with
//! `beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}` clipped. Source: Nichol and Dhariwal 2021, Eq. (17).

use std::{f64::consts::FRAC_PI_2, num::NonZeroUsize};

use add_plugin::{Entry, NoiseSchedule, Schedule, inventory};
use serde::{Deserialize, Serialize};

use crate::fields::{beta, open_unit, steps};

/// The cosine schedule of improved DDPM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cosine {
    /// Number of training timesteps `T`.
    #[serde(deserialize_with = "steps")]
    pub steps: NonZeroUsize,
    /// `s`, which keeps the first betas from vanishing; between 0 and 1.
    #[serde(deserialize_with = "open_unit")]
    pub offset: f64,
    /// Betas are clipped here, so that some signal is left at the end; between 0 and 1.
    #[serde(deserialize_with = "beta")]
    pub max_beta: f64,
}

impl Default for Cosine {
    fn default() -> Self {
        Self { steps: const { NonZeroUsize::new(1000).unwrap() }, offset: 0.008, max_beta: 0.999 }
    }
}

impl Cosine {
    fn f(&self, time: f64) -> f64 {
        ((time + self.offset) / (1.0 + self.offset) * FRAC_PI_2).cos().powi(2)
    }

    /// `alpha_bar_t`.
    fn alphas_cumprod(&self) -> Vec<f64> {
        let steps = self.steps.get();
        let mut alpha_bar = 1.0;
        let signal_left = |t: usize| {
            let (from, to) = (t as f64 / steps as f64, (t + 1) as f64 / steps as f64);
            alpha_bar *= 1.0 - (1.0 - self.f(to) / self.f(from)).min(self.max_beta);
            alpha_bar
        };
        (0..steps).map(signal_left).collect()
    }
}

impl Schedule for Cosine {
    fn tables(&self) -> NoiseSchedule {
        NoiseSchedule::from_alphas_cumprod(&self.alphas_cumprod())
    }
}

inventory::submit!(Entry::schedule::<Cosine>("Cosine", "Nichol and Dhariwal 2021, Eq. 17"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_cosine_itself() {
        let alpha_bar = Cosine::default().alphas_cumprod();
        let f = |time: f64| ((time + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
        assert!((alpha_bar[499] - f(0.5) / f(0.0)).abs() < 1e-12, "{}", alpha_bar[499]);
    }

    #[test]
    fn the_last_beta_is_clipped() {
        let alpha_bar = Cosine::default().alphas_cumprod();
        assert!((alpha_bar[999] / alpha_bar[998] - 0.001).abs() < 1e-12);
    }
}
