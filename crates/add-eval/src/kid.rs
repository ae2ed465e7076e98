//! Kernel distance: the unbiased squared maximum mean discrepancy under a cubic polynomial kernel.
//!
//! ```text
//! k(x, y) = (x . y / d + 1)^3
//! MMD^2 = sum_{i != j} k(x_i, x_j) / (m (m - 1)) + sum_{i != j} k(y_i, y_j) / (n (n - 1))
//!       - 2 sum_{i, j} k(x_i, y_j) / (m n)
//! ```
//!
//! Where `d` is the width of the features. It is a U-statistic: unbiased, so it may come out below zero.
//! Source: Binkowski et al., "Demystifying MMD GANs", 2018, section 4; Gretton et al., 2012, lemma 6.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::{EvalError, FeatureSet};

/// Rows of one block of kernel values; a block pair's products stay in cache.
const BLOCK: usize = 256;

/// The unbiased estimate over all rows of both sets.
///
/// # Errors
/// When the widths differ, a set has fewer than two rows, or one cannot be read back.
pub fn kid(x: &FeatureSet, y: &FeatureSet) -> Result<f64, EvalError> {
    check(x, y)?;
    Ok(within(x)? + within(y)? - 2.0 * kernel_sum(x, y)? / (x.rows() as f64 * y.rows() as f64))
}

fn check(x: &FeatureSet, y: &FeatureSet) -> Result<(), EvalError> {
    EvalError::need_same_dim(x.dim(), y.dim())?;
    EvalError::need_rows("the unbiased kernel distance", 2, x.rows().min(y.rows()))
}

fn kernel(dot: f64, dim: usize) -> f64 {
    (dot / dim as f64 + 1.0).powi(3)
}

/// Mean of the kernel over the pairs of different rows of one set.
fn within(set: &FeatureSet) -> Result<f64, EvalError> {
    let mut diagonal = 0.0;
    set.each(|row| diagonal += kernel(row.iter().map(|value| value * value).sum(), set.dim()))?;
    let rows = set.rows() as f64;
    Ok((kernel_sum(set, set)? - diagonal) / (rows * (rows - 1.0)))
}

/// Sum of the kernel over all pairs of rows; block sums join in a fixed order, so threads do not change it.
fn kernel_sum(x: &FeatureSet, y: &FeatureSet) -> Result<f64, EvalError> {
    let dim = x.dim();
    let blocks: Result<Vec<f64>, EvalError> = (0..x.rows().div_ceil(BLOCK))
        .into_par_iter()
        .map(|block| {
            let mut products = vec![0.0; BLOCK * BLOCK];
            let left = x.block(block * BLOCK, BLOCK)?;
            let left = MatRef::from_row_major_slice(&left, left.len() / dim, dim);
            let mut sum = 0.0;
            for first in (0..y.rows()).step_by(BLOCK) {
                let right = y.block(first, BLOCK)?;
                let right = MatRef::from_row_major_slice(&right, right.len() / dim, dim);
                let products = &mut products[..left.nrows() * right.nrows()];
                let out = MatMut::from_row_major_slice_mut(products, left.nrows(), right.nrows());
                matmul(out, Accum::Replace, left, right.transpose(), 1.0, Par::Seq);
                sum += products.iter().map(|&dot| kernel(dot, dim)).sum::<f64>();
            }
            Ok(sum)
        })
        .collect();
    Ok(blocks?.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{NormalSet as _, SplitMix64};
    use crate::testing::assert_close;
    use proptest::prelude::*;

    #[test]
    fn two_rows_each_give_the_hand_computed_value() {
        // d = 1: k(x, y) = (x y + 1)^3. Within x: k(1, 2) = 27; within y: k(0, 1) = 1;
        // between: k(1,0) + k(1,1) + k(2,0) + k(2,1) = 1 + 8 + 1 + 27 = 37, its mean 9.25.
        let set = |values: &[f64]| FeatureSet::new(1, values.to_vec()).unwrap();
        assert_close(kid(&set(&[1.0, 2.0]), &set(&[0.0, 1.0])).unwrap(), 27.0 + 1.0 - 18.5, 1e-15);
    }

    /// What makes a U-statistic unbiased: the mean over all subsets of a size is the estimate on the whole.
    #[test]
    fn the_mean_over_all_subsets_is_the_full_estimate() {
        let mut rng = SplitMix64::new(5);
        let (x, y) = (rng.normal_set(7, 3), rng.normal_set(6, 3));
        let without = |set: &FeatureSet, out: usize| {
            set.select(&(0..set.rows()).filter(|&row| row != out).collect::<Vec<_>>())
        };
        let mut sum = 0.0;
        for i in 0..7 {
            for j in 0..6 {
                sum += kid(&without(&x, i), &without(&y, j)).unwrap();
            }
        }
        assert_close(sum / 42.0, kid(&x, &y).unwrap(), 1e-12);
    }

    #[test]
    fn sets_of_one_distribution_average_to_zero() {
        let mut rng = SplitMix64::new(11);
        let draws: Vec<f64> =
            (0..2000).map(|_| kid(&rng.normal_set(12, 4), &rng.normal_set(9, 4)).unwrap()).collect();
        let mean = draws.iter().sum::<f64>() / 2000.0;
        let std = (draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 1999.0).sqrt();
        let standard_error = std / 2000f64.sqrt();
        // The biased form (divisors m^2, n^2) would sit at about +0.5, tens of standard errors away.
        assert!(mean.abs() < 3.5 * standard_error, "mean {mean}, standard error {standard_error}");
        assert!(draws.iter().any(|&d| d < 0.0));
    }

    proptest! {
        #[test]
        fn neither_order_nor_side_matters(seed: u64, rows in 2usize..20, dim in 1usize..8) {
            let mut rng = SplitMix64::new(seed);
            let (x, y) = (rng.normal_set(rows, dim), rng.normal_set(rows + 1, dim));
            let mut order: Vec<usize> = (0..rows).collect();
            rng.choose(&mut order, rows);
            let plain = kid(&x, &y).unwrap();
            let scale = 1.0 + within(&x).unwrap().abs() + within(&y).unwrap().abs();
            prop_assert!((plain - kid(&x.select(&order), &y).unwrap()).abs() < 1e-12 * scale);
            prop_assert!((plain - kid(&y, &x).unwrap()).abs() < 1e-12 * scale);
        }
    }
}
