//! CMMD: the squared maximum mean discrepancy of CLIP embeddings under a Gaussian kernel.
//!
//! ```text
//! k(x, y) = exp(-|x - y|^2 / (2 sigma^2)),   sigma = 10
//! CMMD = 1000 (mean_ij k(x_i, x_j) + mean_ij k(y_i, y_j) - 2 mean_ij k(x_i, y_j))
//! ```
//!
//! Over all pairs, each row with itself among them: the biased estimate, which is never negative. The embeddings have unit
//! length. Source: Jayasumana et al., "Rethinking FID: towards a better evaluation metric for image generation", 2024, and its
//! code, `distance.py`.

use crate::knn::scan;
use crate::{EvalError, FeatureSet};

const SIGMA: f64 = 10.0;
const SCALE: f64 = 1000.0;

/// The distance of two sets of embeddings of any length, which are brought to length 1; at least 0.
///
/// # Errors
/// When the widths differ, a set is empty or cannot be read back, or an embedding is all zeros.
pub fn cmmd(x: &FeatureSet, y: &FeatureSet) -> Result<f64, EvalError> {
    EvalError::need_same_dim(x.dim(), y.dim())?;
    EvalError::need_rows("CMMD", 1, x.rows().min(y.rows()))?;
    let (x, y) = (x.clone().normalised(), y.clone().normalised());
    Ok(SCALE * (mean_kernel(&x, &x)? + mean_kernel(&y, &y)? - 2.0 * mean_kernel(&x, &y)?))
}

fn mean_kernel(x: &FeatureSet, y: &FeatureSet) -> Result<f64, EvalError> {
    let gamma = 1.0 / (2.0 * SIGMA * SIGMA);
    let sums = scan(x, y, || 0.0, |sum, _, _, distance| *sum += (-gamma * distance).exp())?;
    Ok(sums.iter().sum::<f64>() / (x.rows() as f64 * y.rows() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;

    #[test]
    fn one_against_one_is_the_kernel_by_hand() {
        let x = FeatureSet::new(2, vec![3.0, 0.0]).unwrap();
        let y = FeatureSet::new(2, vec![0.0, 0.5]).unwrap();
        // Of length 1 they are sqrt(2) apart: 1000 (1 + 1 - 2 exp(-2 / 200)).
        assert_close(cmmd(&x, &y).unwrap(), 1000.0 * (2.0 - 2.0 * (-0.01f64).exp()), 1e-12);
        assert!(cmmd(&x, &x).unwrap().abs() < 1e-12);
    }

    #[test]
    fn a_row_of_zeros_has_no_direction() {
        let zeros = FeatureSet::new(2, vec![0.0; 2]).unwrap();
        assert_eq!(cmmd(&zeros, &zeros), Err(EvalError::ZeroNorm { row: 0 }));
    }
}
