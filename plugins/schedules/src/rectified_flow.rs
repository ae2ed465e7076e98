//! Rectified flow: the sample moves to the noise on a straight line.
//!
//! `x_t = (1 - sigma_t) x_0 + sigma_t eps`. With the time `tau = (t + 1) / T`, which is 1 at the last training timestep
//! and 0 at the clean sample, `sigma_t = s tau / (1 + (s - 1) tau)`; a shift `s` above 1 spends more of the timesteps at
//! high noise, as large pictures need. Sources: Liu et al. 2022; Esser et al. 2024 (Stable Diffusion 3), section 5.3.2.

use std::num::NonZeroUsize;

use add_plugin::{Entry, Fields, NetworkTime, NoiseSchedule, Schedule, fields, inventory};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::fields::{positive, steps};

/// Straight paths from the sample to the noise. The denoiser is told `steps * sigma_t`, as the released models are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RectifiedFlow {
    /// Number of training timesteps `T`.
    #[serde(deserialize_with = "steps")]
    pub steps: NonZeroUsize,
    /// `s`: 1 for evenly spaced noise levels, 3 for Stable Diffusion 3.
    #[serde(deserialize_with = "positive")]
    pub shift: f64,
}

impl Default for RectifiedFlow {
    fn default() -> Self {
        Self { steps: const { NonZeroUsize::new(1000).unwrap() }, shift: 1.0 }
    }
}

impl Schedule for RectifiedFlow {
    fn tables(&self) -> NoiseSchedule {
        let (steps, shift) = (self.steps.get(), self.shift);
        NoiseSchedule::from_formula(steps, move |t| {
            let tau = (t + 1.0) / steps as f64;
            // The same as in the formula above, exact at both ends.
            let (signal, noise) = (1.0 - tau, shift * tau);
            (signal / (signal + noise), noise / (signal + noise))
        })
        .with_network_time(NetworkTime::NoiseLevel)
    }

    fn scheduler_fields(&self) -> Fields {
        fields(json!({ "num_train_timesteps": self.steps, "shift": self.shift }))
    }
}

inventory::submit!(Entry::schedule::<RectifiedFlow>("RectifiedFlow", "Liu et al. 2022; Esser et al. 2024"));

#[cfg(test)]
mod tests {
    use add_plugin::Timesteps;
    use proptest::prelude::*;

    use super::*;

    fn tables(shift: f64) -> NoiseSchedule {
        RectifiedFlow { shift, ..RectifiedFlow::default() }.tables()
    }

    #[test]
    fn without_a_shift_the_noise_grows_evenly() {
        let schedule = tables(1.0);
        assert_eq!(schedule.level(249.0), (0.75, 0.25));
        assert!((schedule.sigma(-0.5) - 0.0005).abs() < 1e-18);
        assert!(schedule.has_zero_terminal_snr());
    }

    #[test]
    fn the_shift_of_stable_diffusion_3_by_hand() {
        // tau = 1/2: 1.5 / 2 = 3/4; tau = 1/4: 0.75 / 1.5 = 1/2
        let schedule = tables(3.0);
        assert_eq!((schedule.sigma(499.0), schedule.sigma(249.0)), (0.75, 0.5));
        assert_eq!(schedule.network_times(&Timesteps(vec![249.0, 999.0])), Timesteps(vec![500.0, 1000.0]));
    }

    #[test]
    fn impossible_numbers_are_refused_while_reading() {
        for wrong in ["RectifiedFlow(steps: 0)", "RectifiedFlow(shift: 0.0)", "RectifiedFlow(shift: inf)"] {
            assert!(crate::recipe(wrong).is_err(), "{wrong}");
        }
        assert!(crate::recipe("RectifiedFlow(shift: 3.0)").is_ok());
    }

    proptest! {
        #[test]
        fn signal_and_noise_add_up_to_one(shift in 0.1..20.0_f64, t in -1.0..999.0_f64, later in 1e-3..9.0_f64) {
            let schedule = tables(shift);
            let (alpha, sigma) = schedule.level(t);
            prop_assert!((alpha + sigma - 1.0).abs() < 1e-15 && (0.0..=1.0).contains(&sigma));
            prop_assert!(t + later > 999.0 || schedule.sigma(t + later) > sigma);
        }
    }
}
