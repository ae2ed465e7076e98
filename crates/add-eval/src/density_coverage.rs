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

use std::sync::atomic::{AtomicBool, Ordering};

use crate::knn::{check, scan, squared_radii};
use crate::{EvalError, FeatureSet};

/// What density and coverage are the means of.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbourhoods {
    /// For each fake row the number of real neighbourhoods that it lies in, divided by `k`. The mean is the density.
    pub of_fakes: Vec<f64>,
    /// For each real row 1 where its neighbourhood holds a fake row, else 0. The mean is the coverage.
    pub of_reals: Vec<f64>,
}

/// Which neighbourhoods of `k` real rows hold which of the fake rows.
///
/// # Errors
/// When the widths differ, `k` is zero or not below the rows of both sets, or one cannot be read back.
pub fn neighbourhoods(real: &FeatureSet, fake: &FeatureSet, k: usize) -> Result<Neighbourhoods, EvalError> {
    check(real, fake, k)?;
    let radii = squared_radii(real, k)?;
    let reached: Vec<AtomicBool> = (0..real.rows()).map(|_| AtomicBool::new(false)).collect();
    let held = scan(
        fake,
        real,
        || 0,
        |held, _, centre, distance| {
            if distance < radii[centre] {
                *held += 1;
                reached[centre].store(true, Ordering::Relaxed);
            }
        },
    )?;
    let of_fakes = held.into_iter().map(|held| f64::from(held) / k as f64).collect();
    let of_reals = reached.into_iter().map(|reached| f64::from(u8::from(reached.into_inner()))).collect();
    Ok(Neighbourhoods { of_fakes, of_reals })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{NormalSet as _, SplitMix64};
    use proptest::prelude::*;

    #[derive(Debug, PartialEq)]
    struct DensityCoverage {
        density: f64,
        coverage: f64,
    }

    fn density_coverage(
        real: &FeatureSet,
        fake: &FeatureSet,
        k: usize,
    ) -> Result<DensityCoverage, EvalError> {
        let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
        let got = neighbourhoods(real, fake, k)?;
        Ok(DensityCoverage { density: mean(&got.of_fakes), coverage: mean(&got.of_reals) })
    }

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
        let inside = crate::on_manifold(&fake, &real, 3).unwrap();
        let precision = inside.iter().sum::<f64>() / 20.0;
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
            prop_assert!((own.density - 1.0).abs() < 1e-12 && own.coverage.to_bits() == 1f64.to_bits());
        }
    }
}
