//! `c(t) = alpha_t^power`: higher noise levels contribute less. ADD, section 3.3, "exponential weighting".

use add_plugin::{Entry, NoiseSchedule, Weighting, inventory};
use serde::{Deserialize, Serialize};

/// The paper's `exp` weighting; its default setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exponential {
    /// Power of `alpha_t`; the paper's is 1.
    pub power: f64,
}

impl Default for Exponential {
    fn default() -> Self {
        Self { power: 1.0 }
    }
}

impl Weighting for Exponential {
    fn weight(&self, schedule: &NoiseSchedule, t: f64) -> f64 {
        schedule.alpha(t).powf(self.power)
    }
}

inventory::submit!(Entry::weighting::<Exponential>("Exponential", "ADD, section 3.3"));

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use crate::{recipe, three_steps};

    #[test]
    fn the_paper_weighs_by_alpha() {
        let plugin = recipe("Exponential()").unwrap();
        assert_eq!([0.0, 1.0].map(|t| plugin.weight(&three_steps(), t)), [0.8, 0.6]);
    }

    #[test]
    fn the_power_is_a_choice() {
        let weight = recipe("Exponential(power: 2.0)").unwrap().weight(&three_steps(), 0.0);
        assert!((weight - 0.64).abs() < 1e-15);
    }

    #[test]
    fn weight_vanishes_at_pure_noise() {
        assert_eq!(recipe("Exponential()").unwrap().weight(&three_steps(), 2.0), 0.0);
    }
}
