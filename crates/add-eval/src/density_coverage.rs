//! Density and coverage: precision and recall that an outlier among the rows cannot inflate.
//!
//! ```text
//! density  = 1 / (k M) sum_{j <= M} #{ i : |x_j - r_i| < NN_k(r_i) }
//! coverage = 1 / N #{ i : |x_j - r_i| < NN_k(r_i) for some j }
//! ```
//!
//! Where `r` are the `N` real rows, `x` the `M` fake ones, `NN_k` the distance to the k-th nearest other real row;
//! `k = 5` in the paper. Only real neighbourhoods are used. Density may exceed 1.
//! Source: Naeem et al., "Reliable fidelity and diversity metrics for generative models", 2020, Eq. (3), (4).

use rayon::prelude::*;

use crate::knn::{check, squared_distance, squared_radii};
use crate::{EvalError, FeatureSet};

/// Both values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DensityCoverage {
    /// Mean number of real neighbourhoods a fake row lies in, divided by `k`; at least 0, near 1 when alike.
    pub density: f64,
    /// Fraction of the real neighbourhoods that hold a fake row, in `0..=1`.
    pub coverage: f64,
}

/// Density and coverage of `fake` against `real` with `k` neighbours.
///
/// # Errors
/// When the widths differ, or `k` is zero or not below the rows of both sets.
pub fn density_coverage(
    real: &FeatureSet,
    fake: &FeatureSet,
    k: usize,
) -> Result<DensityCoverage, EvalError> {
    check(real, fake, k)?;
    let held: Vec<usize> = squared_radii(real, k)
        .into_par_iter()
        .enumerate()
        .map(|(row, radius)| fake.iter().filter(|x| squared_distance(x, real.row(row)) < radius).count())
        .collect();
    let covered = held.iter().filter(|&&count| count > 0).count();
    Ok(DensityCoverage {
        density: held.iter().sum::<usize>() as f64 / (k * fake.rows()) as f64,
        coverage: covered as f64 / real.rows() as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{NormalSet as _, SplitMix64};
    use proptest::prelude::*;

    #[test]
    fn a_line_gives_the_hand_computed_values() {
        let line = |values: &[f64]| FeatureSet::new(1, values.to_vec()).unwrap();
        // Radii (k = 1) 1, 1, 4 around 0, 1, 5. 0.5 lies in two, 6 in one, 9 on a border (outside), 50 in none.
        let got = density_coverage(&line(&[0.0, 1.0, 5.0]), &line(&[0.5, 6.0, 9.0, 50.0]), 1).unwrap();
        assert_eq!(got, DensityCoverage { density: 0.75, coverage: 1.0 });
    }

    #[test]
    fn an_outlier_among_the_real_rows_inflates_precision_but_not_density() {
        let mut values = vec![0.0; 20];
        for (at, value) in values.iter_mut().enumerate() {
            *value = at as f64 * 0.1;
        }
        values[19] = 1000.0;
        let real = FeatureSet::new(1, values).unwrap();
        let fake = FeatureSet::new(1, (0..20).map(|at| 300.0 + f64::from(at)).collect()).unwrap();
        let precision = crate::precision_recall(&real, &fake, 3).unwrap().precision;
        let got = density_coverage(&real, &fake, 3).unwrap();
        assert!(precision > 0.99 && got.density < 0.34 && got.coverage < 0.06, "{precision} {got:?}");
    }

    proptest! {
        #[test]
        fn values_are_bounded_and_a_set_covers_itself(seed: u64, rows in 5usize..30, k in 1usize..4) {
            let mut rng = SplitMix64::new(seed);
            let (a, b) = (rng.normal_set(rows, 4), rng.normal_set(rows, 4));
            let got = density_coverage(&a, &b, k).unwrap();
            prop_assert!((0.0..=1.0).contains(&got.coverage));
            prop_assert!((0.0..=rows as f64 / k as f64).contains(&got.density));
            // A row lies in its own neighbourhood and in those of k - 1 strictly nearer rows: k of k.
            let own = density_coverage(&a, &a, k).unwrap();
            prop_assert_eq!(own, DensityCoverage { density: 1.0, coverage: 1.0 });
        }
    }
}
