//! Smoothing without lag: a mean with weights that decay to both sides.
//!
//! ```text
//! s_i = sum_j b^|i - j| v_j / sum_j b^|i - j|
//! ```
//!
//! Where `b = 1 - 1 / window`. A mean over the past alone shows every turn of a curve too late. Both sums come from
//! one pass forward and one backward, each holding the value itself.

/// The smoothed values, one for each value; `window` is in values, at least 1.
pub(super) fn smooth(values: &[f64], window: f64) -> Vec<f64> {
    let keep = 1.0 - 1.0 / window.max(1.0);
    let forward = decaying_sums(values.iter(), keep);
    let backward = decaying_sums(values.iter().rev(), keep);
    let both = forward.iter().zip(backward.iter().rev()).zip(values);
    both.map(|((f, b), value)| (f.0 + b.0 - value) / (f.1 + b.1 - 1.0)).collect()
}

/// Sum of values and sum of weights up to each value.
fn decaying_sums<'a>(values: impl Iterator<Item = &'a f64>, keep: f64) -> Vec<(f64, f64)> {
    let (mut sum, mut weight) = (0.0, 0.0);
    values
        .map(|value| {
            sum = sum * keep + value;
            weight = weight * keep + 1.0;
            (sum, weight)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_stays_and_a_window_of_one_changes_nothing() {
        assert!(smooth(&[3.0; 50], 10.0).iter().all(|value| (value - 3.0).abs() < 1e-12));
        assert_eq!(smooth(&[1.0, 5.0, 2.0], 1.0), [1.0, 5.0, 2.0]);
        assert!(smooth(&[], 5.0).is_empty());
    }

    #[test]
    fn a_step_is_centred_where_it_happened() {
        let values: Vec<f64> = (0..200).map(|at| if at < 100 { 0.0 } else { 1.0 }).collect();
        let smoothed = smooth(&values, 20.0);
        let crossing = smoothed.iter().position(|&value| value > 0.5).unwrap();
        assert_eq!(crossing, 100);
        assert!(smoothed.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
    }

    #[test]
    fn noise_shrinks() {
        let values: Vec<f64> = (0..400).map(|at| if at % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let smoothed = smooth(&values, 20.0);
        assert!(smoothed.iter().all(|value| value.abs() < 0.06), "also at both ends");
    }
}
