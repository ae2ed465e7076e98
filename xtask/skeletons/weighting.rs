//! `c(t) = alpha_t^power`. Replace it by the formula of your weight, and name its source.

use add_plugin::{Entry, NoiseSchedule, Weighting, inventory};
use serde::{Deserialize, Serialize};

/// What it weighs more, what less, and when to choose it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Skeleton {
    /// What the field does, its unit and its range.
    pub(crate) power: f64,
}

impl Default for Skeleton {
    fn default() -> Self {
        Self { power: 1.0 }
    }
}

impl Weighting for Skeleton {
    fn weight(&self, schedule: &NoiseSchedule, t: f64) -> f64 {
        schedule.alpha(t).powf(self.power)
    }
}

inventory::submit!(Entry::weighting::<Skeleton>("Skeleton", "the paper and its equation"));

#[cfg(test)]
mod tests {
    use crate::{recipe, three_steps};

    /// The schedule of the tests has alpha 0.8, 0.6 and 0.
    #[test]
    fn the_weight_is_the_one_computed_by_hand() {
        let plugin = recipe("Skeleton(power: 2.0)").unwrap();
        for (t, expected) in [(0.0, 0.64), (1.0, 0.36)] {
            assert!((plugin.weight(&three_steps(), t) - expected).abs() < 1e-12, "t = {t}");
        }
    }

    #[test]
    fn the_weight_vanishes_where_there_is_no_signal() {
        let weight = recipe("Skeleton()").unwrap().weight(&three_steps(), 2.0);
        assert!(weight.abs() < f64::EPSILON, "{weight}");
    }
}
