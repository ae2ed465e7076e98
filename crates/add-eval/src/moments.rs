//! Mean and covariance of features, gathered batch by batch.
//!
//! Two sets with counts `n_a, n_b`, means `m_a, m_b` and scatter `M = sum (x - m)(x - m)^T` join exactly as
//!
//! ```text
//! delta = m_b - m_a,  n = n_a + n_b,  m = m_a + delta n_b / n,
//! M = M_a + M_b + delta delta^T n_a n_b / n,   covariance = M / (n - 1)
//! ```
//!
//! Source: Chan, Golub, `LeVeque`, "Updating formulae and a pairwise algorithm for computing sample variances",
//! 1979. The divisor `n - 1` is `numpy.cov`'s, as in every published Frechet distance.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::{EvalError, FeatureSet};

/// Rows taken into one product; bounds the copy of centred rows to a few megabytes.
const BLOCK_ROWS: usize = 512;
/// Rows of the scatter matrix one task works on.
const STRIPE: usize = 128;

/// Count, mean and scatter of the rows seen so far; `dim^2` numbers whatever the count.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    count: usize,
    mean: Vec<f64>,
    /// `sum (x - m)(x - m)^T`, `[dim, dim]` row-major.
    scatter: Vec<f64>,
}

impl Moments {
    /// No rows yet, of width `dim`.
    pub fn new(dim: usize) -> Self {
        Self { count: 0, mean: vec![0.0; dim], scatter: vec![0.0; dim * dim] }
    }

    /// The moments of a whole set.
    ///
    /// # Errors
    /// When it cannot be read back.
    pub fn of(set: &FeatureSet) -> Result<Self, EvalError> {
        let mut moments = Self::new(set.dim());
        moments.push(set)?;
        Ok(moments)
    }

    /// Adds the rows of `batch`.
    ///
    /// # Errors
    /// When the widths differ, or the rows cannot be read back.
    pub fn push(&mut self, batch: &FeatureSet) -> Result<(), EvalError> {
        EvalError::need_same_dim(self.dim(), batch.dim())?;
        for first in (0..batch.rows()).step_by(BLOCK_ROWS) {
            self.push_block(&batch.block(first, BLOCK_ROWS)?);
        }
        Ok(())
    }

    /// Rows seen.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Features per row.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// The mean, `[dim]`.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The covariance with divisor `count - 1`, `[dim, dim]` row-major.
    ///
    /// # Errors
    /// With fewer than two rows.
    pub fn covariance(&self) -> Result<Vec<f64>, EvalError> {
        EvalError::need_rows("covariance", 2, self.count)?;
        let divisor = (self.count - 1) as f64;
        Ok(self.scatter.iter().map(|value| value / divisor).collect())
    }

    fn push_block(&mut self, block: &[f64]) {
        let dim = self.dim();
        let rows = block.len() / dim;
        let mut mean = vec![0.0; dim];
        for row in block.chunks_exact(dim) {
            for (sum, value) in mean.iter_mut().zip(row) {
                *sum += value / rows as f64;
            }
        }
        let centred: Vec<f64> =
            block.chunks_exact(dim).flat_map(|row| row.iter().zip(&mean).map(|(x, m)| x - m)).collect();

        let (before, total) = (self.count as f64, (self.count + rows) as f64);
        let delta: Vec<f64> = mean.iter().zip(&self.mean).map(|(new, old)| new - old).collect();
        let between = before * rows as f64 / total;

        let x = MatRef::from_row_major_slice(&centred, rows, dim);
        self.scatter.par_chunks_mut(STRIPE * dim).enumerate().for_each(|(stripe, scatter)| {
            let (first, height) = (stripe * STRIPE, scatter.len() / dim);
            for (row, line) in scatter.chunks_exact_mut(dim).enumerate() {
                for (sum, d) in line.iter_mut().zip(&delta) {
                    *sum += between * delta[first + row] * d;
                }
            }
            let columns = x.subcols(first, height).transpose();
            let out = MatMut::from_row_major_slice_mut(scatter, height, dim);
            matmul(out, Accum::Add, columns, x, 1.0, Par::Seq);
        });
        for (m, d) in self.mean.iter_mut().zip(&delta) {
            *m += d * rows as f64 / total;
        }
        self.count += rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SplitMix64;
    use crate::testing::assert_close;

    #[test]
    fn batches_of_any_size_give_the_moments_of_the_whole() {
        // More rows than a block and more columns than a stripe, far from the origin.
        let mut rng = SplitMix64::new(3);
        let values: Vec<f64> = (0..700 * 150).map(|_| 1000.0 + rng.normal()).collect();
        let whole = Moments::of(&FeatureSet::new(150, values.clone()).unwrap()).unwrap();
        let mut parts = Moments::new(150);
        for part in values.chunks(150 * 37) {
            parts.push(&FeatureSet::new(150, part.to_vec()).unwrap()).unwrap();
        }
        assert_eq!(whole.count(), parts.count());
        let (a, b) = (whole.covariance().unwrap(), parts.covariance().unwrap());
        for (index, (a, b)) in a.iter().zip(&b).enumerate() {
            assert!((a - b).abs() < 1e-11, "{a} {b}");
            if index % 151 == 0 {
                assert!((a - 1.0).abs() < 0.3, "a variance of 1 came out as {a}");
            }
        }
        assert_close(whole.mean()[149], parts.mean()[149], 1e-13);
    }

    #[test]
    fn one_row_has_no_covariance_and_widths_must_agree() {
        let one = Moments::of(&FeatureSet::new(2, vec![1.0, 2.0]).unwrap()).unwrap();
        assert!(matches!(one.covariance(), Err(EvalError::TooFewRows { got: 1, .. })));
        let mut moments = Moments::new(3);
        let narrow = FeatureSet::new(2, vec![1.0, 2.0]).unwrap();
        assert_eq!(moments.push(&narrow), Err(EvalError::Dim { expected: 3, got: 2 }));
    }
}
