//! `alpha_bar_t = 1 - (t + 1) / (T + 1)`. Replace it by the formula of your schedule, and name its source.

use std::num::NonZeroUsize;

use add_plugin::{Entry, Schedule, inventory};
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
    fn alphas_cumprod(&self) -> Vec<f64> {
        let steps = self.steps.get();
        (1..=steps).map(|i| 1.0 - i as f64 / (steps + 1) as f64).collect()
    }
}

inventory::submit!(Entry::schedule::<Skeleton>("Skeleton", "the paper and its equation"));

#[cfg(test)]
mod tests {
    use crate::recipe;

    #[test]
    fn the_signal_is_the_one_computed_by_hand() {
        let alpha_bars = recipe("Skeleton(steps: 3)").unwrap().alphas_cumprod();
        for (found, expected) in alpha_bars.iter().zip([0.75, 0.5, 0.25]) {
            assert!((found - expected).abs() < 1e-12, "{alpha_bars:?}");
        }
        assert_eq!(alpha_bars.len(), 3);
    }

    #[test]
    fn the_signal_falls_with_every_timestep() {
        let alpha_bars = recipe("Skeleton()").unwrap().alphas_cumprod();
        assert!(alpha_bars.windows(2).all(|pair| pair[0] > pair[1]));
    }
}
