//! Squared Euclidean distances and the radius of each row's k-th neighbour.
//!
//! Differences are taken before squaring (not `|x|^2 + |y|^2 - 2 x.y`), so equal rows are at distance exactly
//! zero and `d(x, y) = d(y, x)` to the last bit: the comparisons of the manifold metrics sit on such ties.

use rayon::prelude::*;

use crate::{EvalError, FeatureSet};

/// Rows of a block of distances: two blocks of Inception's features take 4 MiB.
const BLOCK: usize = 128;

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

/// Lets a state of each row of `left`, as `begin` makes it, meet the rows of `right` in their order:
/// `meet(state, row of left, row of right, squared distance)`. The states come in the order of `left`.
///
/// # Errors
/// When a set cannot be read back.
pub(crate) fn scan<S: Send>(
    left: &FeatureSet,
    right: &FeatureSet,
    begin: impl Fn() -> S + Sync,
    meet: impl Fn(&mut S, usize, usize, f64) + Sync,
) -> Result<Vec<S>, EvalError> {
    let dim = left.dim();
    let of_block = |block: usize| {
        let rows = left.block(block * BLOCK, BLOCK)?;
        let mut states: Vec<S> = rows.chunks_exact(dim).map(|_| begin()).collect();
        for first in (0..right.rows()).step_by(BLOCK) {
            let others = right.block(first, BLOCK)?;
            for ((state, row), at) in states.iter_mut().zip(rows.chunks_exact(dim)).zip(block * BLOCK..) {
                for (other, of) in others.chunks_exact(dim).zip(first..) {
                    meet(state, at, of, squared_distance(row, other));
                }
            }
        }
        Ok(states)
    };
    let blocks: Result<Vec<Vec<S>>, EvalError> =
        (0..left.rows().div_ceil(BLOCK)).into_par_iter().map(of_block).collect();
    Ok(blocks?.into_iter().flatten().collect())
}

/// Squared distance of every row to its `k`-th nearest other row, `[rows]`.
pub(crate) fn squared_radii(set: &FeatureSet, k: usize) -> Result<Vec<f64>, EvalError> {
    let nearest = scan(set, set, Vec::new, |nearest: &mut Vec<f64>, row, other, distance| {
        if row != other {
            nearest.push(distance);
            // Only the k nearest so far matter; they are sorted out before there are many.
            if nearest.len() > 2 * k + BLOCK {
                nearest.select_nth_unstable_by(k - 1, f64::total_cmp);
                nearest.truncate(k);
            }
        }
    })?;
    let of_row = |mut nearest: Vec<f64>| *nearest.select_nth_unstable_by(k - 1, f64::total_cmp).1;
    Ok(nearest.into_iter().map(of_row).collect())
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
        assert_eq!(squared_radii(&set, 1).unwrap(), [0.0, 0.0, 9.0, 16.0]);
        assert_eq!(squared_radii(&set, 2).unwrap(), [9.0, 9.0, 9.0, 49.0]);
    }

    #[test]
    fn neighbours_are_found_across_blocks() {
        // Numbers 0, 1, 2 ... in an order that puts neighbours into different blocks.
        let n = 3 * BLOCK + 5;
        let values: Vec<f64> = (0..n).map(|at| ((at * 37) % n) as f64).collect();
        let set = FeatureSet::new(1, values.clone()).unwrap();
        let radii = squared_radii(&set, 4).unwrap();
        for (value, radius) in values.iter().zip(radii) {
            // Two on each side, and at the ends what is there.
            let short = (value.min(n as f64 - 1.0 - value)).min(2.0);
            assert_eq!(radius.to_bits(), (4.0 - short).powi(2).to_bits(), "{value}");
        }
    }

    #[test]
    fn lanes_and_rest_add_up() {
        let (a, b) = (vec![1.0; 19], (0..19).map(f64::from).collect::<Vec<_>>());
        // sum (i - 1)^2 for i = 0..=18 = 1 + sum_{1..=17} j^2 = 1 + 1785.
        assert_eq!(squared_distance(&a, &b).to_bits(), 1786f64.to_bits());
    }
}
