//! `c(t) = min(SNR(t), gamma)`, the Min-SNR weight of a loss on `x_0`. Source: Hang et al. 2023, section 3.4.

use add_plugin::{Entry, NoiseSchedule, Weighting, inventory};
use serde::{Deserialize, Serialize};

/// The signal-to-noise ratio up to a limit, so that timesteps with little noise do not outweigh all others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MinSnr {
    /// The limit; the paper takes 5.
    pub(crate) gamma: f64,
}

impl Default for MinSnr {
    fn default() -> Self {
        Self { gamma: 5.0 }
    }
}

impl Weighting for MinSnr {
    fn weight(&self, schedule: &NoiseSchedule, t: f64) -> f64 {
        schedule.snr(t).min(self.gamma)
    }
}

inventory::submit!(Entry::weighting::<MinSnr>("MinSnr", "Hang et al. 2023, section 3.4"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_cut_at_gamma() {
        // alpha^2 / sigma^2 is 9 and 1.
        let schedule = NoiseSchedule::from_alphas_cumprod(&[0.9, 0.5]);
        for (t, expected) in [(0, 5.0), (1, 1.0)] {
            let weight = MinSnr::default().weight(&schedule, t);
            assert!((weight - expected).abs() < 1e-12, "{weight}");
        }
    }
}
