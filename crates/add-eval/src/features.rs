//! A set of feature rows in float64, the input of every distance.

use crate::EvalError;

/// `rows` feature vectors of `dim` values each, row-major `[rows, dim]`, all finite.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSet {
    rows: usize,
    dim: usize,
    values: Vec<f64>,
}

impl FeatureSet {
    /// Takes `values` `[rows, dim]` row-major; the number of rows follows from their count.
    ///
    /// # Errors
    /// When `dim` is zero or does not divide the count, or a value is not finite.
    pub fn new(dim: usize, values: Vec<f64>) -> Result<Self, EvalError> {
        EvalError::need_range("features per row", 1, usize::MAX, dim)?;
        let rows = values.len() / dim;
        if rows * dim != values.len() {
            return Err(EvalError::Length {
                what: "feature rows",
                expected: (rows + 1) * dim,
                got: values.len(),
            });
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(EvalError::NotFinite { row: at / dim }),
            None => Ok(Self { rows, dim, values }),
        }
    }

    /// Takes a network's output `[rows, dim]`, row-major.
    ///
    /// # Errors
    /// As [`FeatureSet::new`].
    pub fn from_f32(dim: usize, values: &[f32]) -> Result<Self, EvalError> {
        Self::new(dim, values.iter().map(|&value| f64::from(value)).collect())
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Features per row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All values, `[rows, dim]` row-major.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Row `index`, `[dim]`.
    pub fn row(&self, index: usize) -> &[f64] {
        &self.values[index * self.dim..(index + 1) * self.dim]
    }

    /// The rows in order.
    pub fn iter(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.dim)
    }

    /// Each row divided by its length.
    ///
    /// # Errors
    /// When a row is all zeros.
    pub fn normalised(&self) -> Result<Self, EvalError> {
        let mut values = Vec::with_capacity(self.values.len());
        for (row, features) in self.iter().enumerate() {
            let length = features.iter().map(|x| x * x).sum::<f64>().sqrt();
            if length == 0.0 {
                return Err(EvalError::ZeroNorm { row });
            }
            values.extend(features.iter().map(|x| x / length));
        }
        Ok(Self { values, ..*self })
    }

    /// The rows at `indices`, in that order.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let values = indices.iter().flat_map(|&index| self.row(index).iter().copied()).collect();
        Self { rows: indices.len(), dim: self.dim, values }
    }
}

impl<'a> IntoIterator for &'a FeatureSet {
    type Item = &'a [f64];
    type IntoIter = std::slice::ChunksExact<'a, f64>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ragged_or_nan_set_is_refused_with_the_place() {
        let ragged = FeatureSet::from_f32(3, &[0.0; 7]).unwrap_err();
        assert_eq!(ragged, EvalError::Length { what: "feature rows", expected: 9, got: 7 });
        let nan = FeatureSet::from_f32(2, &[0.0, 1.0, 2.0, f32::NAN]).unwrap_err();
        assert_eq!(nan, EvalError::NotFinite { row: 1 });
        assert!(FeatureSet::new(0, Vec::new()).is_err());
    }

    #[test]
    fn rows_are_chosen_in_order() {
        let set = FeatureSet::from_f32(2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        assert_eq!((set.rows(), set.row(2)), (3, &[5.0, 6.0][..]));
        assert_eq!(set.select(&[2, 0]).values(), &[5.0, 6.0, 1.0, 2.0]);
    }
}
