//! Squared Euclidean distances and the radius of each row's k-th neighbour.
//!
//! Differences are taken before squaring (not `|x|^2 + |y|^2 - 2 x.y`), so equal rows are at distance exactly
//! zero and `d(x, y) = d(y, x)` to the last bit: the comparisons of the manifold metrics sit on such ties.

use rayon::prelude::*;

use crate::{EvalError, FeatureSet};

/// `|a - b|^2`, summed in eight lanes.
pub(crate) fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let ((a_lanes, a_rest), (b_lanes, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..8 {
            let difference = a[lane] - b[lane];
            lanes[lane] += difference * difference;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Squared distance of every row to its `k`-th nearest other row, `[rows]`.
pub(crate) fn squared_radii(set: &FeatureSet, k: usize) -> Vec<f64> {
    (0..set.rows())
        .into_par_iter()
        .map(|row| {
            let mut distances: Vec<f64> = (0..set.rows())
                .filter(|&other| other != row)
                .map(|other| squared_distance(set.row(row), set.row(other)))
                .collect();
            *distances.select_nth_unstable_by(k - 1, f64::total_cmp).1
        })
        .collect()
}

/// Fails unless both sets have one width and more than `k >= 1` rows each.
pub(crate) fn check(real: &FeatureSet, fake: &FeatureSet, k: usize) -> Result<(), EvalError> {
    EvalError::need_same_dim(real.dim(), fake.dim())?;
    EvalError::need_rows("a k-nearest-neighbour metric", 2, real.rows().min(fake.rows()))?;
    EvalError::need_range("neighbours k", 1, real.rows().min(fake.rows()) - 1, k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radii_leave_the_row_itself_out_but_not_its_twin() {
        let set = FeatureSet::new(1, vec![0.0, 0.0, 3.0, 7.0]).unwrap();
        assert_eq!(squared_radii(&set, 1), [0.0, 0.0, 9.0, 16.0]);
        assert_eq!(squared_radii(&set, 2), [9.0, 9.0, 9.0, 49.0]);
    }

    #[test]
    fn lanes_and_rest_add_up() {
        let (a, b) = (vec![1.0; 19], (0..19).map(f64::from).collect::<Vec<_>>());
        // sum (i - 1)^2 for i = 0..=18 = 1 + sum_{1..=17} j^2 = 1 + 1785.
        assert_eq!(squared_distance(&a, &b).to_bits(), 1786f64.to_bits());
    }
}
