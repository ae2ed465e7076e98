//! The schedule of Stable Diffusion: betas whose square roots are evenly spaced.
//!
//! `beta_t = (sqrt(beta_start) + t / (T - 1) (sqrt(beta_end) - sqrt(beta_start)))^2`,
//! `alpha_bar_t = prod_{i <= t} (1 - beta_i)`. Source: latent diffusion's released configurations (SD 1.5, 2.1, XL).

use std::num::NonZeroUsize;

use add_plugin::{Entry, Fields, NoiseSchedule, Schedule, fields, inventory};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::fields::{beta, steps};

/// Betas whose square roots are evenly spaced; the defaults are those of SD 1.5, 2.1 and XL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScaledLinear {
    /// Number of training timesteps `T`.
    #[serde(deserialize_with = "steps")]
    pub steps: NonZeroUsize,
    /// First beta, between 0 and 1.
    #[serde(deserialize_with = "beta")]
    pub beta_start: f64,
    /// Last beta, between 0 and 1.
    #[serde(deserialize_with = "beta")]
    pub beta_end: f64,
}

impl Default for ScaledLinear {
    fn default() -> Self {
        Self { steps: const { NonZeroUsize::new(1000).unwrap() }, beta_start: 0.00085, beta_end: 0.012 }
    }
}

impl ScaledLinear {
    /// `alpha_bar_t`.
    pub(crate) fn alphas_cumprod(&self) -> Vec<f64> {
        let (first, last) = (self.beta_start.sqrt(), self.beta_end.sqrt());
        // A single step has no spacing; it takes the first beta.
        let spacing = (last - first) / (self.steps.get().max(2) - 1) as f64;
        let mut alpha_bar = 1.0;
        let signal_left = |t: usize| {
            alpha_bar *= 1.0 - (first + t as f64 * spacing).powi(2);
            alpha_bar
        };
        (0..self.steps.get()).map(signal_left).collect()
    }
}

impl Schedule for ScaledLinear {
    fn tables(&self) -> NoiseSchedule {
        NoiseSchedule::from_alphas_cumprod(&self.alphas_cumprod())
    }

    fn scheduler_fields(&self) -> Fields {
        fields(json!({
            "num_train_timesteps": self.steps,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "beta_schedule": "scaled_linear",
        }))
    }
}

inventory::submit!(Entry::schedule::<ScaledLinear>("ScaledLinear", "latent diffusion; SD 1.5, 2.1, XL"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_diffusion_has_its_known_levels() {
        let schedule = ScaledLinear::default().tables();
        let known = [
            (999.0, 0.0683, 14.615),
            (899.0, 0.1196, 8.303),
            (799.0, 0.1929, 5.088),
            (749.0, 0.2380, 4.082),
            (699.0, 0.2883, 3.321),
            (499.0, 0.5269, 1.613),
            (249.0, 0.8218, 0.693),
        ];
        for (t, alpha, noise_to_signal) in known {
            assert!((schedule.alpha(t) - alpha).abs() < 5e-5, "alpha({t}) = {}", schedule.alpha(t));
            let ratio = schedule.sigma(t) / schedule.alpha(t);
            assert!((ratio - noise_to_signal).abs() < 5e-4, "sigma / alpha at {t} = {ratio}");
        }
    }

    #[test]
    fn two_steps_by_hand() {
        let steps = NonZeroUsize::new(2).unwrap();
        let schedule = ScaledLinear { steps, beta_start: 0.25, beta_end: 0.64 };
        let [first, second] = schedule.alphas_cumprod()[..] else { panic!("two steps") };
        assert!((first - 0.75).abs() < 1e-15 && (second - 0.75 * 0.36).abs() < 1e-15);
    }

    #[test]
    fn the_recipe_may_leave_everything_out() {
        let plugin = crate::recipe("ScaledLinear()").unwrap();
        assert_eq!(plugin.tables().alphas_cumprod(), Some(&*ScaledLinear::default().alphas_cumprod()));
    }

    #[test]
    fn impossible_numbers_are_refused_while_reading() {
        for wrong in
            ["ScaledLinear(steps: 0)", "ScaledLinear(beta_end: 1.0)", "ScaledLinear(beta_start: -0.1)"]
        {
            assert!(crate::recipe(wrong).is_err(), "{wrong}");
        }
    }
}
