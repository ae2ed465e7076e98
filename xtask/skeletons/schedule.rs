//! `alpha_bar_t = 1 - (t + 1) / (T + 1)`. Replace it by the formula of your schedule, and name its source.

use std::num::NonZeroUsize;

use add_plugin::{Entry, NoiseSchedule, Schedule, inventory};
use serde::{Deserialize, Serialize};

use crate::fields::steps;

/// What it does, and which models were trained with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Skeleton {
    /// Number of training timesteps `T`.
    #[serde(deserialize_with = "steps")]
    pub(crate) steps: NonZeroUsize,
}

impl Default for Skeleton {
    fn default() -> Self {
        Self { steps: const { NonZeroUsize::new(1000).unwrap() } }
    }
}

impl Schedule for Skeleton {
    fn tables(&self) -> NoiseSchedule {
        let steps = self.steps.get();
        let alpha_bars: Vec<f64> = (1..=steps).map(|i| 1.0 - i as f64 / (steps + 1) as f64).collect();
        NoiseSchedule::from_alphas_cumprod(&alpha_bars)
    }
}

inventory::submit!(Entry::schedule::<Skeleton>("Skeleton", "the paper and its equation"));

#[cfg(test)]
mod tests {
    use crate::recipe;

    #[test]
    fn the_signal_is_the_one_computed_by_hand() {
        let tables = recipe("Skeleton(steps: 3)").unwrap().tables();
        for (t, expected) in [(0.0, 0.75_f64), (1.0, 0.5), (2.0, 0.25)] {
            assert!((tables.alpha(t) - expected.sqrt()).abs() < 1e-12, "{t}");
        }
        assert_eq!(tables.steps(), 3);
    }

    #[test]
    fn the_signal_falls_with_every_timestep() {
        let tables = recipe("Skeleton()").unwrap().tables();
        let alphas: Vec<f64> = (0..tables.steps()).map(|t| tables.alpha(t as f64)).collect();
        assert!(alphas.windows(2).all(|pair| pair[0] > pair[1]));
    }
}
