//! How the weight of the distillation term changes over a run: scheduled distillation weights, which the paper leaves open.

use add_recipe::Problems;
use serde::{Deserialize, Serialize};

/// What `lambda` is multiplied by, from the first step of the run to the last. 1 is all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Course {
    /// The same in every step, as in the paper.
    #[default]
    Constant,
    /// Along a line between the two.
    Linear {
        /// In the first step.
        from: f64,
        /// In the last step.
        to: f64,
    },
    /// Along half a cosine between the two: slow at both ends.
    Cosine {
        /// In the first step.
        from: f64,
        /// In the last step.
        to: f64,
    },
    /// 1 before this part of the run is over, 0 after it: the teacher leads first, and the heads finish alone.
    Until(f64),
}

impl Course {
    /// Whether it is the paper's.
    pub fn is_constant(&self) -> bool {
        *self == Self::Constant
    }

    /// The factor of 0-based `step` of a run of `steps`.
    pub fn factor(&self, step: u64, steps: u64) -> f64 {
        let done = step as f64 / steps.saturating_sub(1).max(1) as f64;
        let between = |from: f64, to: f64, part: f64| from + (to - from) * part.min(1.0);
        match *self {
            Self::Constant => 1.0,
            Self::Linear { from, to } => between(from, to, done),
            Self::Cosine { from, to } => {
                between(from, to, 0.5 - 0.5 * (std::f64::consts::PI * done.min(1.0)).cos())
            }
            Self::Until(part) => f64::from(u8::from((step as f64) < part * steps as f64)),
        }
    }

    /// Adds what does not hold of the field at `path`.
    pub(super) fn check(&self, p: &mut Problems, path: &str) {
        match *self {
            Self::Constant => {}
            Self::Linear { from, to } | Self::Cosine { from, to } => {
                p.range(path, from, 0.0, 1e6);
                p.range(path, to, 0.0, 1e6);
                p.require(from.max(to) > 0.0, path, || {
                    "expected `from` or `to` above 0; for no distillation at all, `lambda: 0`".to_owned()
                });
            }
            Self::Until(part) => {
                p.range(path, part, 0.0, 1.0);
                p.above(path, part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn factors_by_hand() {
        let at = |course: Course| [0, 2, 5, 10, 99].map(|step| course.factor(step, 11));
        for (course, want) in [
            (Course::Constant, [1.0; 5]),
            (Course::Linear { from: 1.0, to: 0.0 }, [1.0, 0.8, 0.5, 0.0, 0.0]),
            (Course::Linear { from: 0.5, to: 2.5 }, [0.5, 0.9, 1.5, 2.5, 2.5]),
            // cos(36 degrees) = 0.809...
            (Course::Cosine { from: 1.0, to: 0.0 }, [1.0, 0.904_508_497_187_473_7, 0.5, 0.0, 0.0]),
            (Course::Until(0.5), [1.0, 1.0, 1.0, 0.0, 0.0]),
        ] {
            for (got, want) in at(course).into_iter().zip(want) {
                assert!((got - want).abs() < 1e-12, "{course:?}: {got} {want}");
            }
        }
        assert!(
            (Course::Linear { from: 1.0, to: 0.0 }.factor(0, 1) - 1.0).abs() < 1e-12,
            "a run of one step"
        );
    }

    proptest! {
        #[test]
        fn a_course_stays_between_its_ends_and_never_turns(
            from in 0.0..3.0_f64, to in 0.0..3.0_f64, steps in 2_u64..200, step in 0_u64..200,
        ) {
            for course in [Course::Linear { from, to }, Course::Cosine { from, to }] {
                let factor = |step| course.factor(step, steps);
                prop_assert!((factor(0) - from).abs() < 1e-12 && (factor(steps - 1) - to).abs() < 1e-12);
                let (now, next) = (factor(step), factor(step + 1));
                prop_assert!((from.min(to) - 1e-12..=from.max(to) + 1e-12).contains(&now));
                prop_assert!((next - now) * (to - from) >= -1e-12);
            }
        }
    }
}
