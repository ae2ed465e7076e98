//! Frechet distance between two Gaussians fitted to features.
//!
//! ```text
//! d^2 = |m_a - m_b|^2 + tr A + tr B - 2 tr (A B)^(1/2)
//! ```
//!
//! Where `m` are means and `A`, `B` covariances. With symmetric eigendecompositions `A = F^T F`, `B = G^T G`
//! (`F` is `L^(1/2) V^T` without the directions of zero variance), the last trace is the sum of the singular
//! values of `F G^T`. That keeps full precision where the usual square root of the product `A B` does not: with
//! fewer rows than features the product is singular, and its rounding noise of 1e-16 becomes 1e-8 a direction.
//!
//! Source: Dowson, Landau, "The Frechet distance between multivariate normal distributions", 1982; Heusel et
//! al., "GANs trained by a two time-scale update rule", 2017. It is called FID only on the Inception features of
//! that paper; on any other network it is `fd-<network>`.

use faer::{Mat, MatRef, Side};

use crate::{EvalError, FeatureSet, Moments};

/// Frechet distance of two gathered moments; see [`Gaussian::distance`].
///
/// # Errors
/// When the widths differ, a side has fewer than two rows, or an iteration does not converge.
pub fn frechet_distance(a: &Moments, b: &Moments) -> Result<f64, EvalError> {
    Gaussian::of_moments(a)?.distance(&Gaussian::of_moments(b)?)
}

/// A Gaussian fitted to features: their mean `[d]` and a factor `F` of their covariance, `F^T F`.
#[derive(Debug, Clone)]
pub struct Gaussian {
    mean: Vec<f64>,
    /// `[rank, d]`.
    factor: Mat<f64>,
    /// Trace of the covariance.
    trace: f64,
}

impl Gaussian {
    /// The Gaussian of these features.
    ///
    /// # Errors
    /// With fewer than two rows, when they cannot be read back, or an iteration does not converge.
    pub fn of_set(set: &FeatureSet) -> Result<Self, EvalError> {
        let dim = set.dim();
        if set.rows() > dim {
            return Self::of_moments(&Moments::of(set)?);
        }
        EvalError::need_rows("a covariance", 2, set.rows())?;
        // The centred rows are a factor already, without the rounding of a covariance and its square root.
        let (mean, values) = (mean(set)?, set.block(0, set.rows())?);
        let scale = 1.0 / (set.rows() as f64 - 1.0).sqrt();
        let factor = Mat::from_fn(set.rows(), dim, |row, at| (values[row * dim + at] - mean[at]) * scale);
        let trace = factor.squared_norm_l2();
        Ok(Self { mean, factor, trace })
    }

    /// The Gaussian of gathered moments.
    ///
    /// # Errors
    /// With fewer than two rows, or when an iteration does not converge.
    pub fn of_moments(moments: &Moments) -> Result<Self, EvalError> {
        Self::of_statistics(moments.mean().to_vec(), &moments.covariance()?)
    }

    /// The Gaussian of this mean `[d]` and covariance `[d, d]`.
    ///
    /// # Errors
    /// When the sizes do not fit, or an iteration does not converge.
    pub fn of_statistics(mean: Vec<f64>, covariance: &[f64]) -> Result<Self, EvalError> {
        let dim = mean.len();
        if covariance.len() != dim * dim {
            return Err(EvalError::Length { what: "covariance", expected: dim * dim, got: covariance.len() });
        }
        let trace = covariance.iter().step_by(dim + 1).sum();
        Ok(Self { mean, factor: factor(covariance, dim)?, trace })
    }

    /// Features per row.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Frechet distance of two Gaussians; not negative, in squared units of the features.
    ///
    /// # Errors
    /// When the widths differ, or an iteration does not converge.
    pub fn distance(&self, other: &Self) -> Result<f64, EvalError> {
        // The exact value is never negative; what rounding puts below zero is cut.
        Ok(self.unclamped(other)?.max(0.0))
    }

    fn unclamped(&self, other: &Self) -> Result<f64, EvalError> {
        EvalError::need_same_dim(self.dim(), other.dim())?;
        let mean: f64 = self.mean.iter().zip(&other.mean).map(|(x, y)| (x - y).powi(2)).sum();
        Ok(mean + self.trace + other.trace - 2.0 * nuclear_norm(&self.factor, &other.factor)?)
    }
}

/// The mean of the rows, `[d]`.
fn mean(set: &FeatureSet) -> Result<Vec<f64>, EvalError> {
    let mut mean = vec![0.0; set.dim()];
    set.each(|row| {
        for (sum, value) in mean.iter_mut().zip(row) {
            *sum += value / set.rows() as f64;
        }
    })?;
    Ok(mean)
}

/// `F` with `F^T F = covariance`, `[rank, dim]`.
fn factor(covariance: &[f64], dim: usize) -> Result<Mat<f64>, EvalError> {
    let matrix = MatRef::from_row_major_slice(covariance, dim, dim);
    let eigen = matrix.self_adjoint_eigen(Side::Lower).map_err(|_| EvalError::Decomposition("eigenvalue"))?;
    let (vectors, values) = (eigen.U(), eigen.S().column_vector());
    // Eigenvalues ascend. Below this bound they are rounding noise of the largest one.
    let noise = values[dim - 1] * f64::EPSILON * dim as f64;
    let first = (0..dim).find(|&index| values[index] > noise).unwrap_or(dim);
    Ok(Mat::from_fn(dim - first, dim, |row, column| {
        values[first + row].sqrt() * vectors[(column, first + row)]
    }))
}

/// Sum of the singular values of `F G^T`.
fn nuclear_norm(f: &Mat<f64>, g: &Mat<f64>) -> Result<f64, EvalError> {
    if f.nrows() == 0 || g.nrows() == 0 {
        return Ok(0.0);
    }
    let values =
        (f * g.transpose()).singular_values().map_err(|_| EvalError::Decomposition("singular value"))?;
    Ok(values.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{NormalSet as _, SplitMix64};
    use crate::testing::assert_close;
    use proptest::prelude::*;

    fn unclamped(a: &Moments, b: &Moments) -> Result<f64, EvalError> {
        Gaussian::of_moments(a)?.unclamped(&Gaussian::of_moments(b)?)
    }

    fn frechet_distance_of_sets(a: &FeatureSet, b: &FeatureSet) -> Result<f64, EvalError> {
        frechet_distance(&Moments::of(a)?, &Moments::of(b)?)
    }

    #[test]
    fn rows_statistics_and_moments_give_one_distance() {
        let mut rng = SplitMix64::new(21);
        // Fewer rows than features on one side, more on the other.
        let (x, y) = (rng.normal_set(7, 12), rng.normal_set(30, 12));
        let want = frechet_distance_of_sets(&x, &y).unwrap();
        let of_rows = Gaussian::of_set(&x).unwrap().distance(&Gaussian::of_set(&y).unwrap()).unwrap();
        assert_close(of_rows, want, 1e-12);
        let moments = Moments::of(&x).unwrap();
        let stated =
            Gaussian::of_statistics(moments.mean().to_vec(), &moments.covariance().unwrap()).unwrap();
        assert_close(Gaussian::of_set(&y).unwrap().distance(&stated).unwrap(), want, 1e-12);
        assert!(Gaussian::of_statistics(vec![0.0; 3], &[1.0; 8]).is_err());
    }

    /// The same trace straight from the centred rows, `|X_a X_b^T|_* / sqrt((n_a - 1)(n_b - 1))`: no covariance, so
    /// nothing singular.
    #[test]
    fn fewer_rows_than_features_cost_no_precision() {
        let mut rng = SplitMix64::new(17);
        let (x, y) = (rng.normal_set(8, 12), rng.normal_set(9, 12));
        let (m, n) = (Moments::of(&x).unwrap(), Moments::of(&y).unwrap());
        let centred = |set: &FeatureSet| {
            let (moments, values) = (Moments::of(set).unwrap(), set.block(0, set.rows()).unwrap());
            Mat::from_fn(set.rows(), set.dim(), |row, at| {
                (values[row * set.dim() + at] - moments.mean()[at]) / (set.rows() as f64 - 1.0).sqrt()
            })
        };
        let (x, y) = (centred(&x), centred(&y));
        let mean: f64 = m.mean().iter().zip(n.mean()).map(|(a, b)| (a - b).powi(2)).sum();
        let want = mean + x.squared_norm_l2() + y.squared_norm_l2() - 2.0 * nuclear_norm(&x, &y).unwrap();
        assert_close(frechet_distance(&m, &n).unwrap(), want, 1e-14);
    }

    #[test]
    fn a_set_against_itself_is_zero_to_rounding() {
        let x = Moments::of(&SplitMix64::new(18).normal_set(50, 12)).unwrap();
        assert!(unclamped(&x, &x).unwrap().abs() < 1e-12);
    }

    /// With one row fewer than needed for full rank, the closed form still holds: both sets live in a plane.
    #[test]
    fn singular_covariances_give_the_exact_planar_distance() {
        // Points (+-a, 0, 0...) : variance 2a^2/(n-1) along the first axis only, n = 2.
        let line = |half: f64, axis: usize| {
            let mut values = vec![0.0; 2 * 64];
            values[axis] = half;
            values[64 + axis] = -half;
            FeatureSet::new(64, values).unwrap()
        };
        // Same axis: (s_a - s_b)^2 with s = half sqrt 2. Different axes: s_a^2 + s_b^2.
        let same = frechet_distance_of_sets(&line(3.0, 0), &line(1.0, 0)).unwrap();
        assert_close(same, 8.0, 1e-14);
        let across = frechet_distance_of_sets(&line(3.0, 0), &line(1.0, 5)).unwrap();
        assert_close(across, 20.0, 1e-14);
        let constant = FeatureSet::new(64, vec![0.0; 128]).unwrap();
        assert_close(frechet_distance_of_sets(&line(3.0, 0), &constant).unwrap(), 18.0, 1e-14);
    }

    fn moments(mean: &[f64], std: &[f64]) -> Moments {
        // Rows m +- s e_i along every axis i: 2d rows, covariance diag(2 s_i^2 / (2d - 1)) exactly.
        let dim = mean.len();
        let values = (0..2 * dim)
            .flat_map(|row| {
                let sign = if row % 2 == 0 { 1.0 } else { -1.0 };
                (0..dim).map(move |at| mean[at] + if at == row / 2 { sign * std[at] } else { 0.0 })
            })
            .collect();
        Moments::of(&FeatureSet::new(dim, values).unwrap()).unwrap()
    }

    /// An orthogonal map: a product of Householder reflections.
    fn rotated(set: &FeatureSet, rng: &mut SplitMix64) -> FeatureSet {
        let mut values = set.block(0, set.rows()).unwrap();
        for _ in 0..3 {
            let axis: Vec<f64> = (0..set.dim()).map(|_| rng.normal()).collect();
            let norm: f64 = axis.iter().map(|x| x * x).sum();
            for row in values.chunks_exact_mut(set.dim()) {
                let along: f64 = row.iter().zip(&axis).map(|(x, a)| x * a).sum();
                for (x, a) in row.iter_mut().zip(&axis) {
                    *x -= 2.0 * along / norm * a;
                }
            }
        }
        FeatureSet::new(set.dim(), values).unwrap()
    }

    proptest! {
        #[test]
        fn a_set_has_distance_zero_to_itself(seed: u64, rows in 2usize..40, dim in 1usize..20) {
            let set = Moments::of(&SplitMix64::new(seed).normal_set(rows, dim)).unwrap();
            prop_assert!(unclamped(&set, &set).unwrap().abs() < 1e-11);
        }

        #[test]
        fn distance_is_symmetric_and_never_negative(seed: u64, rows in 2usize..30, dim in 1usize..20) {
            let mut rng = SplitMix64::new(seed);
            let [a, b] = [rows, rows + 3].map(|rows| Moments::of(&rng.normal_set(rows, dim)).unwrap());
            let (ab, ba) = (unclamped(&a, &b).unwrap(), unclamped(&b, &a).unwrap());
            prop_assert!(ab > -1e-11);
            prop_assert!((ab - ba).abs() < 1e-10 * (1.0 + ab));
        }

        #[test]
        fn rotating_both_sets_changes_nothing(seed: u64, rows in 3usize..30, dim in 2usize..12) {
            let mut rng = SplitMix64::new(seed);
            let (a, b) = (rng.normal_set(rows, dim), rng.normal_set(rows, dim));
            let turn = rng.next_u64();
            let before = frechet_distance_of_sets(&a, &b).unwrap();
            let (a, b) = (rotated(&a, &mut SplitMix64::new(turn)), rotated(&b, &mut SplitMix64::new(turn)));
            let after = frechet_distance_of_sets(&a, &b).unwrap();
            prop_assert!((before - after).abs() < 1e-9 * (1.0 + before), "{before} {after}");
        }

        #[test]
        fn the_order_of_rows_does_not_matter(seed: u64, rows in 3usize..30, dim in 1usize..12) {
            let mut rng = SplitMix64::new(seed);
            let (a, b) = (rng.normal_set(rows, dim), rng.normal_set(rows, dim));
            let mut order: Vec<usize> = (0..rows).collect();
            rng.choose(&mut order, rows);
            let (plain, mixed) =
                (frechet_distance_of_sets(&a, &b).unwrap(), frechet_distance_of_sets(&a.select(&order), &b).unwrap());
            prop_assert!((plain - mixed).abs() < 1e-10 * (1.0 + plain));
        }

        /// Diagonal Gaussians: `|m_a - m_b|^2 + sum (s_a - s_b)^2`.
        #[test]
        fn diagonal_gaussians_have_the_closed_form(
            axes in prop::collection::vec((-3.0f64..3.0, -3.0f64..3.0, 0.0f64..5.0, 0.0f64..5.0), 1..9)
        ) {
            let pick = |f: fn(&(f64, f64, f64, f64)) -> f64| axes.iter().map(f).collect::<Vec<_>>();
            let (m_a, m_b, s_a, s_b) = (pick(|t| t.0), pick(|t| t.1), pick(|t| t.2), pick(|t| t.3));
            let scale = 2.0 / (2.0 * axes.len() as f64 - 1.0);
            let want: f64 = axes.iter().map(|t| (t.0 - t.1).powi(2) + scale * (t.2 - t.3).powi(2)).sum();
            let got = frechet_distance(&moments(&m_a, &s_a), &moments(&m_b, &s_b)).unwrap();
            prop_assert!((got - want).abs() < 1e-6 * (1.0 + want), "got {got}, want {want}");
        }
    }
}
