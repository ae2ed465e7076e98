//! Paired retrieval: how often the real picture of the same caption is among the nearest ones.
//!
//! ```text
//! top-k = mean over i of [ #{ j : |x_i - r_j| < |x_i - r_i| } < k ]
//! ```
//!
//! Where row `i` of the fakes `x` was made for the caption of row `i` of the reals `r`. Ties break at random in
//! expectation (see `ranking.rs`). Chance is `k / rows`; `k = 5` among 500 in the miniature runs.
//! Source: the recall@k of image retrieval (Jegou et al., "Product quantization", 2011, section V).

use rayon::prelude::*;

use crate::knn::squared_distance;
use crate::ranking::hit_within;
use crate::{EvalError, FeatureSet};

/// Fraction of the fake rows whose paired real row is within their `k` nearest real rows, in `0..=1`.
///
/// # Errors
/// When the sets differ in width or rows, are empty, or `k` is not in `1..=rows`.
pub fn retrieval_top_k(real: &FeatureSet, fake: &FeatureSet, k: usize) -> Result<f64, EvalError> {
    EvalError::need_same_dim(real.dim(), fake.dim())?;
    EvalError::need_rows("retrieval", 1, real.rows())?;
    EvalError::need_range("k", 1, real.rows(), k)?;
    if real.rows() != fake.rows() {
        return Err(EvalError::Length {
            what: "paired rows",
            expected: real.values().len(),
            got: fake.values().len(),
        });
    }
    let hits: Vec<f64> = (0..fake.rows())
        .into_par_iter()
        .map(|row| {
            let own = squared_distance(fake.row(row), real.row(row));
            let distances = || real.iter().map(|other| squared_distance(fake.row(row), other));
            let ahead = distances().filter(|&distance| distance < own).count();
            let not_behind = distances().filter(|&distance| distance <= own).count();
            hit_within(k, ahead, not_behind - ahead - 1)
        })
        .collect();
    Ok(hits.iter().sum::<f64>() / hits.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{NormalSet as _, SplitMix64};
    use crate::testing::assert_close;

    #[test]
    fn four_points_on_a_line_give_the_hand_computed_fractions() {
        let line = |values: &[f64]| FeatureSet::new(1, values.to_vec()).unwrap();
        let real = line(&[0.0, 10.0, 20.0, 30.0]);
        // Nearest reals: 0 (own), 0 (own is 2nd), 20 (own), 0 (own is last).
        let fake = line(&[1.0, 4.0, 18.0, -1.0]);
        for (k, want) in [(1, 0.5), (2, 0.75), (3, 0.75), (4, 1.0)] {
            assert_close(retrieval_top_k(&real, &fake, k).unwrap(), want, 1e-15);
        }
    }

    #[test]
    fn perfect_pairs_are_found_and_a_shuffle_is_at_chance() {
        let mut rng = SplitMix64::new(8);
        let real = rng.normal_set(400, 10);
        assert_close(retrieval_top_k(&real, &real, 1).unwrap(), 1.0, 1e-15);
        let mut order: Vec<usize> = (0..400).collect();
        rng.choose(&mut order, 400);
        let chance = retrieval_top_k(&real, &real.select(&order), 20).unwrap();
        assert!((0.01..0.1).contains(&chance), "expected about 0.05, got {chance}");
    }

    #[test]
    fn a_dead_feature_network_scores_exactly_chance() {
        let constant = FeatureSet::new(3, vec![0.25; 60]).unwrap();
        assert_close(retrieval_top_k(&constant, &constant, 5).unwrap(), 0.25, 1e-15);
    }
}
