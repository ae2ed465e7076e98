//! The schedules' tables for the betas that a fixture names, from the plugins that a recipe would name.

use add_plugin::{Plugin, Schedule};
use ron::extensions::Extensions;
// The plugins register themselves; something must name their crate.
use schedules as _;

use crate::ParityError;

/// Betas whose square roots are evenly spaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Betas {
    /// Number of training timesteps.
    pub(crate) steps: usize,
    pub(crate) start: f64,
    pub(crate) end: f64,
}

impl Betas {
    /// Those of SD 1.5, 2.1 and XL.
    pub(crate) const STABLE_DIFFUSION: Self = Self { steps: 1000, start: 0.00085, end: 0.012 };

    /// `alpha_bar_t`.
    pub(crate) fn alphas_cumprod(self) -> Result<Vec<f64>, ParityError> {
        table(&self.recipe())
    }

    /// `alpha_bar_t`, rescaled so that the last is 0.
    pub(crate) fn with_zero_terminal_snr(self) -> Result<Vec<f64>, ParityError> {
        table(&format!("ZeroTerminalSnr(inner: {})", self.recipe()))
    }

    fn recipe(self) -> String {
        let Self { steps, start, end } = self;
        format!("ScaledLinear(steps: {steps}, beta_start: {start:?}, beta_end: {end:?})")
    }
}

fn table(recipe: &str) -> Result<Vec<f64>, ParityError> {
    let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
    let schedule: Result<Plugin<dyn Schedule>, _> = options.from_str(recipe);
    let schedule = schedule.map_err(|error| ParityError::content("schedule", "usable betas", error))?;
    let tables = schedule.tables();
    let alphas_cumprod = tables.alphas_cumprod().map(<[f64]>::to_vec);
    alphas_cumprod.ok_or_else(|| ParityError::content("schedule", "a variance preserving schedule", recipe))
}
