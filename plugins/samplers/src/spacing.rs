//! Which timesteps a sampler visits.
//!
//! Numbers as the released schedulers have them (diffusers), for `T` training timesteps and `n` steps.

use add_plugin::{Fields, SamplerContext, fields};
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

impl Spacing {
    /// At most `steps` timesteps, descending, without repetition.
    pub(crate) fn timesteps(self, total: usize, steps: usize) -> Vec<usize> {
        let steps = steps.min(total);
        // Where a division has no neighbour to divide by, there is one step only.
        let fraction = |i: usize, of: usize| i as f64 / of.max(1) as f64;
        let at = |i: usize| match self {
            Self::Trailing => (total as f64 * (1.0 - fraction(i, steps))).round_ties_even() - 1.0,
            Self::Leading => ((steps - 1 - i) * (total / steps) + 1) as f64,
            Self::Linspace => ((total - 1) as f64 * fraction(steps - 1 - i, steps - 1)).round_ties_even(),
        };
        descending((0..steps).map(|i| at(i) as usize), total)
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
    pub(crate) fn timesteps_above_the_end(self, total: usize, steps: usize) -> Vec<usize> {
        let steps = steps.min(total);
        let at = |i: usize| match self {
            Self::Trailing => unreachable!("handled below"),
            Self::Leading => ((steps - i) * (total / (steps + 1)) + 1) as f64,
            Self::Linspace => ((total - 1) as f64 * (steps - i) as f64 / steps as f64).round_ties_even(),
        };
        match self {
            Self::Trailing => self.timesteps(total, steps),
            Self::Leading | Self::Linspace => descending((0..steps).map(|i| at(i) as usize), total),
        }
    }
}

/// The timesteps of a distilled student, when it knows enough of them for `context.steps`; otherwise `spread`. Of these
/// the last ones, where a picture is there already.
///
/// A student is never asked at a timestep that it has not seen as long as its own suffice.
pub(crate) fn for_model(
    context: &SamplerContext<'_>,
    spread: impl FnOnce(usize, usize) -> Vec<usize>,
) -> Vec<usize> {
    let all = if context.student_timesteps.len() >= context.steps.max(1) {
        subset(context.student_timesteps, context.steps)
    } else {
        spread(context.schedule.steps(), context.steps)
    };
    remaining(context, all)
}

/// `steps` of `ascending`, evenly spread, descending, starting at the last: index `floor(i n / steps)` from the top.
pub(crate) fn subset(ascending: &[usize], steps: usize) -> Vec<usize> {
    let n = ascending.len();
    let steps = steps.min(n);
    (0..steps).map(|i| ascending[n - 1 - i * n / steps]).collect()
}

/// Within the schedule, and each once.
fn descending(timesteps: impl Iterator<Item = usize>, total: usize) -> Vec<usize> {
    let mut timesteps: Vec<usize> = timesteps.map(|t| t.min(total - 1)).collect();
    timesteps.dedup();
    timesteps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_released_schedulers_timesteps() {
        assert_eq!(Spacing::Trailing.timesteps(1000, 4), [999, 749, 499, 249]);
        assert_eq!(Spacing::Trailing.timesteps(1000, 3), [999, 666, 332]);
        assert_eq!(Spacing::Leading.timesteps(1000, 4), [751, 501, 251, 1]);
        assert_eq!(Spacing::Linspace.timesteps(1000, 4), [999, 666, 333, 0]);
        assert_eq!(Spacing::Linspace.timesteps_above_the_end(1000, 4), [999, 749, 500, 250]);
        assert_eq!(Spacing::Leading.timesteps_above_the_end(1000, 4), [801, 601, 401, 201]);
    }

    #[test]
    fn a_students_subset_starts_at_the_last() {
        let known = [249, 499, 749, 999];
        let subsets: Vec<_> = (0..=5).map(|steps| subset(&known, steps)).collect();
        let want: [&[usize]; 6] =
            [&[], &[999], &[999, 499], &[999, 749, 499], &[999, 749, 499, 249], &[999, 749, 499, 249]];
        assert_eq!(subsets, want);
    }

    proptest! {
        #[test]
        fn timesteps_descend_within_the_schedule(
            total in 1_usize..1200, steps in 0_usize..1300, spacing in 0..3_usize,
        ) {
            let spacing = [Spacing::Trailing, Spacing::Leading, Spacing::Linspace][spacing];
            for timesteps in [spacing.timesteps(total, steps), spacing.timesteps_above_the_end(total, steps)] {
                prop_assert!(timesteps.windows(2).all(|pair| pair[0] > pair[1]), "{timesteps:?}");
                prop_assert!(timesteps.iter().all(|&t| t < total));
                prop_assert_eq!(timesteps.is_empty(), steps == 0);
            }
        }
    }
}
