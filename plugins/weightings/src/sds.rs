//! The weight under which the distillation loss is score distillation sampling.
//!
//! Since `x_hat_theta - x_hat_psi = (sigma_t / alpha_t)(eps_psi - eps')`, the weight `c(t) = alpha_t / (2 sigma_t) w(t)`
//! gives `d/dx_hat_theta [c |x_hat_theta - x_hat_psi|^2] = w(t)(eps_psi - eps')`, the gradient of SDS.
//! Sources: ADD, section 3.3 and its supplement; Poole et al. 2022, Eq. (3).

use add_plugin::{Entry, NoiseSchedule, Weighting, inventory};
use serde::{Deserialize, Serialize};

/// Score distillation sampling; holds for a single teacher step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sds {
    /// `w(t)` of the SDS gradient.
    pub w: SdsWeight,
}

/// `w(t)` of `w(t)(eps_psi - eps')`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SdsWeight {
    /// `sigma_t^2`, as DreamFusion has it: `c = alpha_t sigma_t / 2`, bounded by 1/4.
    #[default]
    SigmaSquared,
    /// 1: `c = alpha_t / (2 sigma_t)`, which grows without bound towards the clean end.
    One,
}

/// Below this timestep `c` of [`SdsWeight::One`] is too large to train with.
const MINIMUM_TIMESTEP_OF_ONE: usize = 20;

impl SdsWeight {
    /// `c(t) = alpha_t / (2 sigma_t) w(t)`.
    pub(crate) fn c(self, schedule: &NoiseSchedule, t: f64) -> f64 {
        let (alpha, sigma) = (schedule.alpha(t), schedule.sigma(t));
        match self {
            Self::SigmaSquared => alpha * sigma / 2.0,
            Self::One => alpha / (2.0 * sigma),
        }
    }

    pub(crate) fn minimum_timestep(self) -> usize {
        match self {
            Self::SigmaSquared => 0,
            Self::One => MINIMUM_TIMESTEP_OF_ONE,
        }
    }
}

impl Weighting for Sds {
    fn weight(&self, schedule: &NoiseSchedule, t: f64) -> f64 {
        self.w.c(schedule, t)
    }

    fn minimum_timestep(&self) -> usize {
        self.w.minimum_timestep()
    }
}

inventory::submit!(Entry::weighting::<Sds>("Sds", "ADD, section 3.3; Poole et al. 2022"));

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{recipe, three_steps};

    #[test]
    fn by_hand() {
        let weight = |text: &str| recipe(text).unwrap().weight(&three_steps(), 0.0);
        assert!((weight("Sds()") - 0.24).abs() < 1e-15);
        assert!((weight("Sds(w: One)") - 0.8 / 1.2).abs() < 1e-15);
    }

    #[test]
    fn weight_vanishes_at_pure_noise() {
        for w in [SdsWeight::SigmaSquared, SdsWeight::One] {
            assert_eq!(w.c(&three_steps(), 2.0), 0.0);
        }
    }

    #[test]
    fn only_the_unbounded_weight_keeps_away_from_clean_pictures() {
        assert_eq!(recipe("Sds()").unwrap().minimum_timestep(), 0);
        assert_eq!(recipe("Sds(w: One)").unwrap().minimum_timestep(), 20);
    }

    proptest! {
        #[test]
        fn the_default_weight_is_bounded(alpha_bar in 0.0..1.0_f64) {
            let c = SdsWeight::SigmaSquared.c(&NoiseSchedule::from_alphas_cumprod(&[alpha_bar]), 0.0);
            prop_assert!((0.0..=0.25).contains(&c));
        }
    }
}
