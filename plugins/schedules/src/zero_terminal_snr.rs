//! Another schedule, rescaled so that its last timestep holds no signal at all.
//!
//! `alpha'_t = (alpha_t - alpha_T) * alpha_0 / (alpha_0 - alpha_T)`: the first stays, the last becomes 0.
//! Source: Lin et al. 2023, "Common diffusion noise schedules and sample steps are flawed", algorithm 1.
//! It fits v- and `x_0`-prediction; from a noise prediction, `x_0` cannot be had where alpha is 0.

use add_plugin::{Entry, Fields, NoiseSchedule, Plugin, Schedule, inventory};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// `inner`, shifted and scaled to zero terminal SNR.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZeroTerminalSnr {
    /// The schedule to rescale, a variance preserving one.
    #[serde(deserialize_with = "variance_preserving")]
    pub inner: Plugin<dyn Schedule>,
}

impl Schedule for ZeroTerminalSnr {
    fn tables(&self) -> NoiseSchedule {
        let inner = self.inner.tables();
        NoiseSchedule::from_alphas_cumprod(&rescale(
            inner.alphas_cumprod().expect("no other schedule is read"),
        ))
    }

    fn scheduler_fields(&self) -> Fields {
        let mut fields = self.inner.scheduler_fields();
        fields.insert("rescale_betas_zero_snr".to_owned(), true.into());
        fields
    }
}

inventory::submit!(Entry::schedule::<ZeroTerminalSnr>("ZeroTerminalSnr", "Lin et al. 2023, algorithm 1"));

/// A schedule with `alpha^2 + sigma^2 = 1`: what is rescaled is its `alpha_bar`.
fn variance_preserving<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Plugin<dyn Schedule>, D::Error> {
    let inner = Plugin::<dyn Schedule>::deserialize(deserializer)?;
    if inner.tables().is_variance_preserving() {
        return Ok(inner);
    }
    Err(D::Error::custom(format!(
        "expected a variance preserving schedule such as ScaledLinear() or Cosine(), got {}; rectified flow ends in pure \
         noise without being rescaled",
        inner.name()
    )))
}

/// `alpha_bar_t` shifted and scaled in its square root. A schedule of one step becomes pure noise.
fn rescale(alphas_cumprod: &[f64]) -> Vec<f64> {
    let alpha: Vec<f64> = alphas_cumprod.iter().map(|a| a.sqrt()).collect();
    let (first, last) = (alpha[0], alpha[alpha.len() - 1]);
    if alpha.len() == 1 {
        return vec![0.0];
    }
    let scale = first / (first - last);
    alpha.iter().map(|a| ((a - last) * scale).powi(2)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ScaledLinear, recipe};

    fn alpha_bars(plugin: &Plugin<dyn Schedule>) -> Vec<f64> {
        plugin.tables().alphas_cumprod().expect("variance preserving").to_vec()
    }

    fn stable_diffusion() -> Plugin<dyn Schedule> {
        recipe("ZeroTerminalSnr(inner: ScaledLinear())").unwrap()
    }

    #[test]
    fn three_steps_by_hand() {
        // alpha = 0.9, 0.5, 0.1 -> minus 0.1, times 0.9 / 0.8
        let rescaled = rescale(&[0.81, 0.25, 0.01]);
        for (got, want) in rescaled.iter().zip([0.81, 0.2025, 0.0]) {
            assert!((got - want).abs() < 1e-15, "{got} {want}");
        }
    }

    #[test]
    fn the_last_timestep_holds_no_signal() {
        assert!(stable_diffusion().tables().has_zero_terminal_snr());
    }

    #[test]
    fn the_first_timestep_stays() {
        let plain = ScaledLinear::default().alphas_cumprod();
        assert!((alpha_bars(&stable_diffusion())[0] - plain[0]).abs() < 1e-15);
    }

    #[test]
    fn a_schedule_of_one_step_is_pure_noise() {
        assert_eq!(rescale(&[0.5]), [0.0]);
    }

    #[test]
    fn rectified_flow_is_refused_with_the_reason() {
        let error = recipe("ZeroTerminalSnr(inner: RectifiedFlow())").unwrap_err().to_string();
        assert!(error.contains("expected a variance preserving schedule"), "{error}");
        assert!(error.contains("got RectifiedFlow"), "{error}");
    }

    #[test]
    fn a_recipe_survives_being_written_and_read() {
        let extensions = ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES;
        let options = ron::Options::default().with_default_extension(extensions);
        let written = options.to_string(&stable_diffusion()).unwrap();
        let read = recipe(&written).unwrap();
        assert_eq!(alpha_bars(&read), alpha_bars(&stable_diffusion()), "{written}");
    }

    fn schedules() -> impl Strategy<Value = String> {
        let linear = (2_usize..1500, 1e-5..0.01_f64, 0.01..0.03_f64)
            .prop_map(|(n, a, b)| format!("ScaledLinear(steps: {n}, beta_start: {a:?}, beta_end: {b:?})"));
        let cosine = (2_usize..1500).prop_map(|n| format!("Cosine(steps: {n})"));
        let plain = prop_oneof![linear, cosine];
        plain.prop_flat_map(|inner| {
            prop_oneof![Just(inner.clone()), Just(format!("ZeroTerminalSnr(inner: {inner})"))]
        })
    }

    proptest! {
        #[test]
        fn every_schedule_strictly_loses_signal(text in schedules()) {
            let alpha_bar = alpha_bars(&recipe(&text).unwrap());
            prop_assert!(alpha_bar.windows(2).all(|pair| pair[0] > pair[1]));
            prop_assert!(alpha_bar.iter().all(|a| (0.0..1.0).contains(a)));
        }

        #[test]
        fn signal_and_noise_add_up_to_unit_variance(text in schedules()) {
            let tables = recipe(&text).unwrap().tables();
            for t in (0..tables.steps()).map(|t| t as f64) {
                prop_assert!((tables.alpha(t).powi(2) + tables.sigma(t).powi(2) - 1.0).abs() < 1e-12);
            }
        }
    }
}
