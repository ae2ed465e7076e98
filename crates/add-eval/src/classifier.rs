//! Accuracy of a classifier's logits: does the picture show what its caption says?
//!
//! ```text
//! top-k accuracy = mean over rows of [ label is among the k largest logits ]
//! ```
//!
//! Ties break at random in expectation (see `ranking.rs`), so a constant classifier scores `k / classes`.
//! On generated pictures this is the caption accuracy of a classifier trained on real ones (Ravuri and Vinyals,
//! "Classification accuracy score for conditional generative models", 2019, turned the other way round).

use crate::ranking::hit_within;
use crate::{EvalError, FeatureSet};

/// Fraction of the rows whose largest logit is their label's, in `0..=1`. `logits` `[rows, classes]`.
///
/// # Errors
/// As [`top_k_accuracy`].
pub fn accuracy(logits: &FeatureSet, labels: &[usize]) -> Result<f64, EvalError> {
    top_k_accuracy(logits, labels, 1)
}

/// Fraction of the rows whose label is among the `k` largest logits, in `0..=1`. `logits` `[rows, classes]`.
///
/// # Errors
/// When there are no rows, the counts differ, a label is not a class, or `k` is not in `1..=classes`.
pub fn top_k_accuracy(logits: &FeatureSet, labels: &[usize], k: usize) -> Result<f64, EvalError> {
    EvalError::need_rows("accuracy", 1, logits.rows())?;
    EvalError::need_range("k", 1, logits.dim(), k)?;
    if labels.len() != logits.rows() {
        return Err(EvalError::Length { what: "labels", expected: logits.rows(), got: labels.len() });
    }
    let mut hits = 0.0;
    for (row, &label) in logits.iter().zip(labels) {
        EvalError::need_range("label", 0, logits.dim() - 1, label)?;
        let ahead = row.iter().filter(|&&logit| logit > row[label]).count();
        let not_behind = row.iter().filter(|&&logit| logit >= row[label]).count();
        hits += hit_within(k, ahead, not_behind - ahead - 1);
    }
    Ok(hits / labels.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{NormalSet as _, SplitMix64};
    use crate::testing::assert_close;
    use proptest::prelude::*;

    #[test]
    fn three_rows_give_the_hand_computed_fractions() {
        let logits = FeatureSet::new(3, vec![0.1, 0.9, 0.5, 3.0, 2.0, 1.0, -1.0, -2.0, -3.0]).unwrap();
        let labels = [1, 1, 2];
        for (k, want) in [(1, 1.0 / 3.0), (2, 2.0 / 3.0), (3, 1.0)] {
            assert_close(top_k_accuracy(&logits, &labels, k).unwrap(), want, 1e-15);
        }
    }

    #[test]
    fn a_constant_classifier_scores_chance() {
        let logits = FeatureSet::new(8, vec![0.5; 40]).unwrap();
        assert_close(accuracy(&logits, &[0, 3, 5, 7, 1]).unwrap(), 0.125, 1e-15);
        assert_close(top_k_accuracy(&logits, &[0, 3, 5, 7, 1], 5).unwrap(), 0.625, 1e-15);
    }

    #[test]
    fn a_label_that_is_no_class_is_refused() {
        let logits = FeatureSet::new(2, vec![0.0, 1.0]).unwrap();
        assert!(accuracy(&logits, &[2]).is_err());
        assert!(accuracy(&logits, &[]).is_err());
        assert!(top_k_accuracy(&logits, &[0], 3).is_err());
    }

    proptest! {
        #[test]
        fn accuracy_grows_with_k_up_to_one(seed: u64, rows in 1usize..20, classes in 2usize..10) {
            let mut rng = SplitMix64::new(seed);
            let logits = rng.normal_set(rows, classes);
            let labels: Vec<usize> = (0..rows).map(|_| rng.below(classes)).collect();
            let mut last = 0.0;
            for k in 1..=classes {
                let now = top_k_accuracy(&logits, &labels, k).unwrap();
                prop_assert!(now >= last && now <= 1.0);
                last = now;
            }
            prop_assert!((last - 1.0).abs() < 1e-12);
        }
    }
}
