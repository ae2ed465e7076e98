//! Which timesteps a sampler visits.
//!
//! Numbers as the released schedulers have them (diffusers), for `T` training timesteps and `n` steps. They round to whole
//! timesteps; on a schedule that is a formula nothing is rounded.

use add_plugin::{Fields, NoiseSchedule, SamplerContext, fields};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::path::remaining;

/// How `n` timesteps are spread over `0 .. T`. Source: Lin et al. 2023, Table 2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spacing {
    /// `round(T - i T / n) - 1`: starts at the last timestep.
    #[default]
    Trailing,
    /// `i floor(T / n) + 1`: never visits the last timestep (Stable Diffusion's and SDXL's default).
    Leading,
    /// `round(i (T - 1) / (n - 1))`: both ends.
    Linspace,
}

/// The timesteps that there are to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grid {
    /// The whole numbers below this one.
    Whole(usize),
    /// The real numbers up to this one less 1.
    Real(usize),
}

impl Grid {
    /// Those of a schedule.
    pub(crate) fn of(schedule: &NoiseSchedule) -> Self {
        if schedule.is_continuous() { Self::Real(schedule.steps()) } else { Self::Whole(schedule.steps()) }
    }

    /// Training timesteps.
    pub(crate) fn total(self) -> usize {
        let (Self::Whole(total) | Self::Real(total)) = self;
        total
    }

    fn round(self, t: f64) -> f64 {
        match self {
            Self::Whole(_) => t.round_ties_even(),
            Self::Real(_) => t,
        }
    }
}

impl Spacing {
    /// At most `steps` timesteps, descending, without repetition.
    pub(crate) fn timesteps(self, grid: Grid, steps: usize) -> Vec<f64> {
        let total = grid.total();
        let steps = steps.min(total);
        if (self, grid, steps) == (Self::Linspace, Grid::Real(total), 1) {
            // There the list begins at the noise, however short it is.
            return vec![(total - 1) as f64];
        }
        // Where a division has no neighbour to divide by, there is one step only.
        let fraction = |i: usize, of: usize| i as f64 / of.max(1) as f64;
        let at = |i: usize| match self {
            Self::Trailing => grid.round(total as f64 * (1.0 - fraction(i, steps))) - 1.0,
            Self::Leading => ((steps - 1 - i) * (total / steps) + 1) as f64,
            Self::Linspace => grid.round((total - 1) as f64 * fraction(steps - 1 - i, steps - 1)),
        };
        descending((0..steps).map(at), total)
    }

    /// The same in diffusers' `scheduler_config.json`.
    pub(crate) fn scheduler_fields(self) -> Fields {
        let name = match self {
            Self::Trailing => "trailing",
            Self::Leading => "leading",
            Self::Linspace => "linspace",
        };
        // Only the leading one reads the offset; without it diffusers warns at every load.
        fields(json!({ "timestep_spacing": name, "steps_offset": 1 }))
    }

    /// As DPM-Solver's scheduler has it: `Leading` and `Linspace` are spread over one more step, whose lowest timestep
    /// is where the clean end is.
    pub(crate) fn timesteps_above_the_end(self, grid: Grid, steps: usize) -> Vec<f64> {
        let total = grid.total();
        let steps = steps.min(total);
        let at = |i: usize| match self {
            Self::Trailing => unreachable!("handled below"),
            Self::Leading => ((steps - i) * (total / (steps + 1)) + 1) as f64,
            Self::Linspace => grid.round((total - 1) as f64 * (steps - i) as f64 / steps as f64),
        };
        match self {
            Self::Trailing => self.timesteps(grid, steps),
            Self::Leading | Self::Linspace => descending((0..steps).map(at), total),
        }
    }
}

/// The timesteps of a distilled student, when it knows enough of them for `context.steps`; otherwise `spread`. Of these
/// the last ones, where a picture is there already.
///
/// A student is never asked at a timestep that it has not seen as long as its own suffice.
pub(crate) fn for_model(
    context: &SamplerContext<'_>,
    spread: impl FnOnce(Grid, usize) -> Vec<f64>,
) -> Vec<f64> {
    let all = if context.student_timesteps.len() >= context.steps.max(1) {
        subset(context.student_timesteps, context.steps)
    } else {
        spread(Grid::of(context.schedule), context.steps)
    };
    remaining(context, all)
}

/// `steps` of `ascending`, evenly spread, descending, starting at the last: index `floor(i n / steps)` from the top.
pub(crate) fn subset(ascending: &[usize], steps: usize) -> Vec<f64> {
    let n = ascending.len();
    let steps = steps.min(n);
    (0..steps).map(|i| ascending[n - 1 - i * n / steps] as f64).collect()
}

/// Within the schedule, and each once.
fn descending(timesteps: impl Iterator<Item = f64>, total: usize) -> Vec<f64> {
    let mut timesteps: Vec<f64> = timesteps.map(|t| t.clamp(0.0, (total - 1) as f64)).collect();
    timesteps.dedup();
    timesteps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_released_schedulers_timesteps() {
        let all = Grid::Whole(1000);
        assert_eq!(Spacing::Trailing.timesteps(all, 4), [999.0, 749.0, 499.0, 249.0]);
        assert_eq!(Spacing::Trailing.timesteps(all, 3), [999.0, 666.0, 332.0]);
        assert_eq!(Spacing::Leading.timesteps(all, 4), [751.0, 501.0, 251.0, 1.0]);
        assert_eq!(Spacing::Linspace.timesteps(all, 4), [999.0, 666.0, 333.0, 0.0]);
        assert_eq!(Spacing::Linspace.timesteps_above_the_end(all, 4), [999.0, 749.0, 500.0, 250.0]);
        assert_eq!(Spacing::Leading.timesteps_above_the_end(all, 4), [801.0, 601.0, 401.0, 201.0]);
    }

    #[test]
    fn on_a_formula_nothing_is_rounded() {
        let all = Grid::Real(1000);
        assert!((Spacing::Trailing.timesteps(all, 16)[1] - 936.5).abs() < 1e-9);
        assert_eq!(Spacing::Linspace.timesteps(all, 5), [999.0, 749.25, 499.5, 249.75, 0.0]);
        assert_eq!(Spacing::Linspace.timesteps(all, 1), [999.0]);
    }

    #[test]
    fn a_students_subset_starts_at_the_last() {
        let known = [249, 499, 749, 999];
        let subsets: Vec<_> = (0..=5).map(|steps| subset(&known, steps)).collect();
        let all = [999.0, 749.0, 499.0, 249.0];
        let want: [&[f64]; 6] = [&[], &[999.0], &[999.0, 499.0], &all[..3], &all, &all];
        assert_eq!(subsets, want);
    }

    proptest! {
        #[test]
        fn timesteps_descend_within_the_schedule(
            total in 1_usize..1200, steps in 0_usize..1300, spacing in 0..3_usize, real in any::<bool>(),
        ) {
            let spacing = [Spacing::Trailing, Spacing::Leading, Spacing::Linspace][spacing];
            let grid = if real { Grid::Real(total) } else { Grid::Whole(total) };
            for timesteps in [spacing.timesteps(grid, steps), spacing.timesteps_above_the_end(grid, steps)] {
                prop_assert!(timesteps.windows(2).all(|pair| pair[0] > pair[1]), "{timesteps:?}");
                prop_assert!(timesteps.iter().all(|&t| (0.0..=(total - 1) as f64).contains(&t)));
                prop_assert_eq!(timesteps.is_empty(), steps == 0);
            }
        }
    }
}
