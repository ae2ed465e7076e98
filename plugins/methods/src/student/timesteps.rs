//! The timesteps that a few-step student knows.

use add_plugin::{Draw, Prediction, Purpose};
use add_recipe::{Problems, Recipe};
use serde::{Deserialize, Serialize};

use super::Terminal;

/// The student's timesteps, 0-based.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StudentTimesteps {
    /// `n` evenly spaced ones that end at the last: the released schedulers' trailing spacing.
    Trailing(usize),
    /// 699, 799, 899, 999: the authors' public sampling demo.
    SgmTurbo(),
    /// These, ascending.
    Custom(Vec<usize>),
}

impl Default for StudentTimesteps {
    fn default() -> Self {
        Self::Trailing(4)
    }
}

impl StudentTimesteps {
    /// The timesteps for a schedule of `steps`, ascending.
    pub fn resolve(&self, steps: usize) -> Vec<usize> {
        match self {
            Self::Trailing(n) => (1..=*n).map(|i| (i * steps / (*n).max(1)).saturating_sub(1)).collect(),
            Self::SgmTurbo() => vec![699, 799, 899, 999],
            Self::Custom(list) => list.clone(),
        }
    }

    /// Adds what does not hold of `objective.student_timesteps`, `timestep_weights` and `terminal` in a recipe.
    pub(crate) fn check(&self, p: &mut Problems, recipe: &Recipe, weights: &[f64], terminal: Terminal) {
        let tables = recipe.model.schedule.tables();
        if let Self::Trailing(n) = *self
            && n > tables.steps()
        {
            p.require(false, "objective.student_timesteps", || {
                format!("expected at most {}, as the schedule has, got Trailing({n})", tables.steps())
            });
            return;
        }
        let timesteps = self.resolve(tables.steps());
        let ascending = timesteps.windows(2).all(|w| w[0] < w[1]);
        let inside = timesteps.iter().all(|&t| t < tables.steps());
        p.require(!timesteps.is_empty() && ascending && inside, "objective.student_timesteps", || {
            format!("expected ascending timesteps below {}, got {timesteps:?}", tables.steps())
        });
        let usable = weights.iter().all(|w| *w >= 0.0 && w.is_finite()) && weights.iter().sum::<f64>() > 0.0;
        p.require(
            weights.is_empty() || (usable && weights.len() == timesteps.len()),
            "objective.timestep_weights",
            || {
                format!(
                    "expected {} numbers that are not negative and not all zero, got {weights:?}",
                    timesteps.len()
                )
            },
        );
        let prediction = recipe.model.backbone.info().prediction;
        let zero = tables.has_zero_terminal_snr();
        p.require(!(zero && prediction == Prediction::Epsilon), "model.schedule", || {
            "zero terminal SNR divides by zero when the model predicts noise; expected a schedule that keeps some signal, \
             with `terminal: InputReplacement`"
                .to_owned()
        });
        let last = timesteps.last() == Some(&(tables.steps() - 1));
        p.require((zero && last) || terminal == Terminal::InputReplacement, "objective.terminal", || {
            "sampling starts from pure noise, so training must see it: expected a ZeroTerminalSnr schedule with its last \
             timestep as the student's last, or `terminal: InputReplacement`"
                .to_owned()
        });
    }
}

/// One of the ascending `timesteps`, drawn by `weights`; empty weights draw each equally often.
///
/// # Panics
/// Panics without a timestep.
pub(crate) fn draw_timestep(timesteps: &[usize], weights: &[f64], draw: &Draw, purpose: Purpose) -> usize {
    if weights.is_empty() {
        return timesteps[draw.below(purpose, timesteps.len())];
    }
    let mut left = draw.uniform(purpose) * weights.iter().sum::<f64>();
    for (&t, &weight) in timesteps.iter().zip(weights) {
        if left < weight {
            return t;
        }
        left -= weight;
    }
    *timesteps.last().expect("the recipe was checked")
}
