//! Improved precision and recall: how much of one set lies on the other's estimated manifold.
//!
//! ```text
//! precision = fraction of fake rows x with |x - r| <= NN_k(r) for some real row r
//! recall    = fraction of real rows r with |r - x| <= NN_k(x) for some fake row x
//! ```
//!
//! Where `NN_k` is the distance to the k-th nearest other row of the same set; `k = 3` in the paper.
//! Source: Kynkaanniemi et al., "Improved precision and recall metric for assessing generative models", 2019,
//! Eq. (1) and (2).

use crate::knn::{check, scan, squared_radii};
use crate::{EvalError, FeatureSet};

/// For each row of `points` 1 where it lies inside of a neighbourhood of `manifold`, else 0. The mean is the precision
/// where the points are the fakes, the recall where they are the reals.
///
/// # Errors
/// When the widths differ, `k` is zero or not below the rows of both sets, or one cannot be read back.
pub fn on_manifold(points: &FeatureSet, manifold: &FeatureSet, k: usize) -> Result<Vec<f64>, EvalError> {
    check(points, manifold, k)?;
    let radii = squared_radii(manifold, k)?;
    let inside = scan(
        points,
        manifold,
        || false,
        |inside, _, centre, distance| {
            *inside |= distance <= radii[centre];
        },
    )?;
    Ok(inside.into_iter().map(|inside| f64::from(u8::from(inside))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{NormalSet as _, SplitMix64};
    use proptest::prelude::*;

    #[derive(Debug, PartialEq)]
    struct PrecisionRecall {
        precision: f64,
        recall: f64,
    }

    fn precision_recall(
        real: &FeatureSet,
        fake: &FeatureSet,
        k: usize,
    ) -> Result<PrecisionRecall, EvalError> {
        let mean = |scores: Vec<f64>| scores.iter().sum::<f64>() / scores.len() as f64;
        let precision = mean(on_manifold(fake, real, k)?);
        Ok(PrecisionRecall { precision, recall: mean(on_manifold(real, fake, k)?) })
    }

    fn line(values: &[f64]) -> FeatureSet {
        FeatureSet::new(1, values.to_vec()).unwrap()
    }

    #[test]
    fn a_line_gives_the_hand_computed_fractions() {
        // Real radii (k = 1): 1, 1, 4 -> covers [-1, 2] and [1, 9]. Fake radii: 3, 3, 94 around 3, 6, 100.
        let got = precision_recall(&line(&[0.0, 1.0, 5.0]), &line(&[3.0, 6.0, 100.0]), 1).unwrap();
        assert_eq!(got, PrecisionRecall { precision: 2.0 / 3.0, recall: 2.0 / 3.0 + 1.0 / 3.0 });
        let got = precision_recall(&line(&[0.0, 1.0, 5.0]), &line(&[30.0, 31.0, 32.0]), 1).unwrap();
        assert_eq!(got, PrecisionRecall { precision: 0.0, recall: 0.0 });
    }

    #[test]
    fn one_repeated_picture_is_precise_but_recalls_nothing() {
        let mut rng = SplitMix64::new(1);
        let real = rng.normal_set(50, 6);
        let collapsed = real.select(&[7; 50]);
        let got = precision_recall(&real, &collapsed, 3).unwrap();
        assert_eq!(got, PrecisionRecall { precision: 1.0, recall: 0.02 });
    }

    #[test]
    fn k_must_be_below_the_rows() {
        let (a, b) = (line(&[0.0, 1.0, 2.0]), line(&[0.0, 1.0]));
        assert!(matches!(precision_recall(&a, &b, 2), Err(EvalError::OutOfRange { got: 2, .. })));
        assert!(precision_recall(&a, &b, 0).is_err());
    }

    proptest! {
        #[test]
        fn fractions_are_bounded_and_full_for_a_set_with_itself(
            seed: u64, rows in 4usize..30, dim in 1usize..8, k in 1usize..4
        ) {
            let mut rng = SplitMix64::new(seed);
            let (a, b) = (rng.normal_set(rows, dim), rng.normal_set(rows + 2, dim));
            let got = precision_recall(&a, &b, k).unwrap();
            prop_assert!((0.0..=1.0).contains(&got.precision) && (0.0..=1.0).contains(&got.recall));
            let swapped = precision_recall(&b, &a, k).unwrap();
            prop_assert_eq!((got.precision, got.recall), (swapped.recall, swapped.precision));
            let own = precision_recall(&a, &a, k).unwrap();
            prop_assert_eq!((own.precision, own.recall), (1.0, 1.0));
        }

        #[test]
        fn more_neighbours_never_cover_less(seed: u64, rows in 6usize..25) {
            let mut rng = SplitMix64::new(seed);
            let (a, b) = (rng.normal_set(rows, 3), rng.normal_set(rows, 3));
            let (few, many) = (precision_recall(&a, &b, 2).unwrap(), precision_recall(&a, &b, 4).unwrap());
            prop_assert!(few.precision <= many.precision && few.recall <= many.recall);
        }

        #[test]
        fn the_order_of_rows_does_not_matter(seed: u64, rows in 5usize..25) {
            let mut rng = SplitMix64::new(seed);
            let (a, b) = (rng.normal_set(rows, 3), rng.normal_set(rows, 3));
            let mut order: Vec<usize> = (0..rows).collect();
            rng.choose(&mut order, rows);
            prop_assert_eq!(
                precision_recall(&a, &b, 3).unwrap(),
                precision_recall(&a.select(&order), &b.select(&order), 3).unwrap()
            );
        }
    }
}
