//! How far a figure would move with other pictures: the spread over random halves of them.
//!
//! ```text
//! interval = figure +- 1.96 sd(figure of a random half)
//! ```
//!
//! A half of `n` pictures drawn without replacement varies around the whole as the whole does around the truth, since
//! `1 / (n / 2) - 1 / n = 1 / n`. Unlike the bootstrap with replacement no picture comes twice: a repeated picture would be
//! its own nearest neighbour and fill a kernel's diagonal. The centre is the figure of all pictures, so a bias with the
//! number of pictures, as Frechet distances have it, does not shift the interval.
//! Source: Politis, Romano, "Large sample confidence regions based on subsamples", 1994; Shao, Wu, "A general theory for
//! jackknife variance estimation", 1989 (delete-d with d = n / 2).

use crate::EvalError;
use crate::rng::SplitMix64;

/// Deviations on both sides that hold 95 % of a normal distribution.
const NORMAL_95: f64 = 1.96;
/// Halves over which a mean is spread: it costs next to nothing.
const HALVES_OF_MEAN: usize = 1000;
/// The stream of the draws.
const SEED: u64 = 0x4A1F;

/// The interval around `figure`, from its values `of_half` on `resamples` random halves of `n` units; `None` without
/// resamples, or where there are fewer than four units to halve.
///
/// # Errors
/// Those of `of_half`.
pub fn interval<E>(
    figure: f64,
    n: usize,
    resamples: usize,
    mut of_half: impl FnMut(&[usize]) -> Result<f64, E>,
) -> Result<Option<(f64, f64)>, E> {
    if resamples < 2 || n < 4 {
        return Ok(None);
    }
    let mut rng = SplitMix64::new(SEED);
    let mut units: Vec<usize> = (0..n).collect();
    let mut values = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        let half = rng.choose(&mut units, n / 2);
        values.push(of_half(half)?);
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64;
    let reach = NORMAL_95 * variance.sqrt();
    Ok(Some((figure - reach, figure + reach)))
}

/// The mean of `scores`, one per picture, with its interval where `resamples` is not 0.
///
/// # Errors
/// When there are no scores.
pub fn mean_with_interval(scores: &[f64], resamples: usize) -> Result<(f64, Option<(f64, f64)>), EvalError> {
    EvalError::need_rows("a mean", 1, scores.len())?;
    let mean = |picked: &mut dyn Iterator<Item = f64>, n: usize| picked.sum::<f64>() / n as f64;
    let figure = mean(&mut scores.iter().copied(), scores.len());
    let halves = if resamples == 0 { 0 } else { HALVES_OF_MEAN };
    let of_half = |half: &[usize]| Ok::<_, EvalError>(mean(&mut half.iter().map(|&i| scores[i]), half.len()));
    Ok((figure, interval(figure, scores.len(), halves, of_half)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_is_that_of_its_standard_error() {
        let mut rng = SplitMix64::new(5);
        let scores: Vec<f64> = (0..400).map(|_| 3.0 + 2.0 * rng.normal()).collect();
        let (mean, interval) = mean_with_interval(&scores, 1).unwrap();
        let (low, high) = interval.unwrap();
        // 1.96 * 2 / sqrt(400), give or take what 400 draws and 1000 halves leave open.
        assert!(((high - low) / 2.0 - 0.196).abs() < 0.025, "{low} {high}");
        assert!((f64::midpoint(low, high) - mean).abs() < 1e-12);
    }

    #[test]
    fn without_resamples_or_units_there_is_none() {
        assert_eq!(mean_with_interval(&[1.0, 2.0, 3.0, 4.0], 0).unwrap(), (2.5, None));
        assert_eq!(mean_with_interval(&[1.0, 2.0], 20).unwrap(), (1.5, None));
        assert!(mean_with_interval(&[], 20).is_err());
        let failing = interval(0.0, 8, 20, |_| Err(EvalError::ZeroNorm { row: 0 }));
        assert_eq!(failing, Err(EvalError::ZeroNorm { row: 0 }));
    }
}
