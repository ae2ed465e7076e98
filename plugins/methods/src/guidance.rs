//! The scale of a teacher's classifier-free guidance, as a recipe states it.

use add_plugin::{Draw, Purpose};
use add_recipe::Problems;
use serde::{Deserialize, Serialize};

/// Largest scale.
const MOST: f64 = 100.0;

/// Scale of classifier-free guidance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Guidance {
    /// The same for every sample.
    Fixed(f64),
    /// Uniform between the two, drawn per sample.
    Uniform(f64, f64),
}

impl Guidance {
    /// The scale of the sample that `draw` belongs to.
    pub fn draw(&self, draw: &Draw) -> f64 {
        match *self {
            Self::Fixed(scale) => scale,
            Self::Uniform(low, high) => low + draw.uniform(Purpose::Guidance) * (high - low),
        }
    }

    /// The scale in the middle of those that are drawn.
    pub fn middle(&self) -> f64 {
        match *self {
            Self::Fixed(scale) => scale,
            Self::Uniform(low, high) => f64::midpoint(low, high),
        }
    }

    /// Whether it is 1 for every sample: no guidance.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Fixed(scale) if (scale - 1.0).abs() < f64::EPSILON)
    }

    /// Adds what does not hold of the field at `path`.
    pub fn check(&self, path: &str, problems: &mut Problems) {
        match *self {
            Self::Fixed(scale) => problems.range(path, scale, 0.0, MOST),
            Self::Uniform(low, high) => {
                problems.range(path, low, 0.0, MOST);
                problems.require(low <= high && high <= MOST, path, || {
                    format!("expected (smallest, largest) up to {MOST}, got ({low}, {high})")
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_drawn_in_their_range_and_differ() {
        let guidance = Guidance::Uniform(2.0, 6.0);
        let scales: Vec<f64> =
            (0..1000).map(|index| guidance.draw(&Draw { seed: 1, step: 0, index })).collect();
        assert!(scales.iter().all(|scale| (2.0..6.0).contains(scale)));
        let mean = scales.iter().sum::<f64>() / 1000.0;
        assert!((mean - guidance.middle()).abs() < 0.15, "{mean}");
    }
}
