//! `c(t) = 1`: the baseline.

use add_plugin::{Entry, NoiseSchedule, Weighting, inventory};
use serde::{Deserialize, Serialize};

/// The same weight at every timestep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uniform {}

impl Weighting for Uniform {
    fn weight(&self, _schedule: &NoiseSchedule, _t: f64) -> f64 {
        1.0
    }
}

inventory::submit!(Entry::weighting::<Uniform>("Uniform", "baseline"));

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use crate::{recipe, three_steps};

    #[test]
    fn every_timestep_weighs_the_same() {
        let plugin = recipe("Uniform()").unwrap();
        assert_eq!([0.0, 2.0].map(|t| plugin.weight(&three_steps(), t)), [1.0, 1.0]);
    }

    #[test]
    fn there_is_nothing_to_set() {
        assert!(recipe("Uniform(power: 1.0)").is_err());
    }
}
