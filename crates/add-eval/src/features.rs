//! A set of feature rows in float64, the input of every distance.

use std::sync::Arc;

use add_files::Rows;

use crate::EvalError;

/// Rows that [`FeatureSet::each`] reads at once: a megabyte of Inception's features.
const BLOCK: usize = 64;

/// `rows` feature vectors of `dim` values each, all finite. Those of a network stay where [`Rows`] keeps them and are read
/// a block at a time, so the number of pictures costs no memory.
#[derive(Debug, Clone)]
pub struct FeatureSet {
    dim: usize,
    values: Values,
    /// Which of the rows are in the set, in this order; all of them where none are named.
    chosen: Option<Vec<usize>>,
    /// Whether each row is divided by its length.
    is_normalised: bool,
}

#[derive(Debug, Clone)]
enum Values {
    /// `[rows, dim]`, row-major.
    Held(Arc<[f64]>),
    Kept(Rows),
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
            None => Ok(Self { dim, values: Values::Held(values.into()), chosen: None, is_normalised: false }),
        }
    }

    /// Takes a network's output.
    ///
    /// # Errors
    /// When a value is not finite, or the rows cannot be read back.
    pub fn of_rows(rows: Rows) -> Result<Self, EvalError> {
        let mut before = 0;
        let dim = rows.width();
        rows.each_block(|values| {
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                return Err(EvalError::NotFinite { row: before + at / dim });
            }
            before += values.len() / dim;
            Ok(())
        })?;
        Ok(Self { dim, values: Values::Kept(rows), chosen: None, is_normalised: false })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        match (&self.chosen, &self.values) {
            (Some(chosen), _) => chosen.len(),
            (None, Values::Held(values)) => values.len() / self.dim,
            (None, Values::Kept(rows)) => rows.len(),
        }
    }

    /// Features per row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Each row divided by its length.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        self.is_normalised = true;
        self
    }

    /// The rows at `indices`, in that order.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let of_all = |&index: &usize| self.chosen.as_ref().map_or(index, |chosen| chosen[index]);
        Self { chosen: Some(indices.iter().map(of_all).collect()), ..self.clone() }
    }

    /// The rows from `first` on, `[count, dim]` row-major; fewer than `count` where the set ends.
    ///
    /// # Errors
    /// When they cannot be read back, or are to be divided by their length and one has none.
    pub fn block(&self, first: usize, count: usize) -> Result<Vec<f64>, EvalError> {
        let end = self.rows().min(first.saturating_add(count));
        let mut values = Vec::with_capacity(end.saturating_sub(first) * self.dim);
        match &self.chosen {
            None => self.read(first, end.saturating_sub(first), &mut values)?,
            Some(chosen) => {
                for &row in &chosen[first.min(end)..end] {
                    self.read(row, 1, &mut values)?;
                }
            }
        }
        if self.is_normalised {
            for (row, features) in (first..).zip(values.chunks_exact_mut(self.dim)) {
                let length = features.iter().map(|x| x * x).sum::<f64>().sqrt();
                if length == 0.0 {
                    return Err(EvalError::ZeroNorm { row });
                }
                for x in features {
                    *x /= length;
                }
            }
        }
        Ok(values)
    }

    /// Shows every row `[dim]` in order.
    ///
    /// # Errors
    /// As [`FeatureSet::block`].
    pub fn each(&self, mut show: impl FnMut(&[f64])) -> Result<(), EvalError> {
        for first in (0..self.rows()).step_by(BLOCK) {
            self.block(first, BLOCK)?.chunks_exact(self.dim).for_each(&mut show);
        }
        Ok(())
    }

    /// Adds `count` of all rows from `first` on to `into`.
    fn read(&self, first: usize, count: usize, into: &mut Vec<f64>) -> Result<(), EvalError> {
        match &self.values {
            Values::Held(values) => {
                into.extend_from_slice(&values[first * self.dim..(first + count) * self.dim]);
            }
            Values::Kept(rows) => into.extend(rows.read(first, count)?.into_iter().map(f64::from)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use add_files::RowsWriter;

    use super::*;
    use crate::rng::SplitMix64;

    fn kept(dim: usize, values: &[f32]) -> Result<FeatureSet, EvalError> {
        let mut writer = RowsWriter::default();
        writer.push(dim, values).expect("kept");
        FeatureSet::of_rows(writer.rows())
    }

    #[test]
    fn a_ragged_or_nan_set_is_refused_with_the_place() {
        let ragged = FeatureSet::new(3, vec![0.0; 7]).unwrap_err();
        assert_eq!(ragged, EvalError::Length { what: "feature rows", expected: 9, got: 7 });
        for nan in [FeatureSet::new(2, vec![0.0, 1.0, 2.0, f64::NAN]), kept(2, &[0.0, 1.0, 2.0, f32::NAN])] {
            assert_eq!(nan.unwrap_err(), EvalError::NotFinite { row: 1 });
        }
        assert!(FeatureSet::new(0, Vec::new()).is_err());
    }

    #[test]
    fn rows_are_chosen_in_order() {
        let held = FeatureSet::new(2, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        for set in [held, kept(2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap()] {
            assert_eq!((set.rows(), set.block(2, 1).unwrap()), (3, vec![5.0, 6.0]));
            let chosen = set.select(&[2, 0]);
            assert_eq!((chosen.rows(), chosen.block(0, 9).unwrap()), (2, vec![5.0, 6.0, 1.0, 2.0]));
            assert_eq!(chosen.select(&[1]).block(0, 1).unwrap(), [1.0, 2.0]);
            assert!(set.block(3, 4).unwrap().is_empty());
        }
    }

    #[test]
    fn figures_do_not_ask_where_the_rows_are() {
        // More values than are kept in memory.
        let sets = [(3, 1100), (4, 1060)].map(|(seed, rows)| {
            let mut rng = SplitMix64::new(seed);
            let values: Vec<f32> = (0..rows * 1000).map(|_| rng.normal() as f32).collect();
            let held = FeatureSet::new(1000, values.iter().copied().map(f64::from).collect()).unwrap();
            let kept = kept(1000, &values).unwrap();
            // Every other row, backwards, as a half-sample might have them.
            let half: Vec<usize> = (0..rows).rev().step_by(2).collect();
            [[held.clone(), kept.clone()], [held.select(&half), kept.select(&half)]]
        });
        let [a, b] = sets;
        for ([a_held, a_kept], [b_held, b_kept]) in a.into_iter().zip(b) {
            let figures = |a: &FeatureSet, b: &FeatureSet| {
                let share = |of: Vec<f64>| of.iter().sum::<f64>() / of.len() as f64;
                let near = crate::neighbourhoods(a, b, 3).unwrap();
                [
                    crate::Moments::of(a).unwrap().mean().iter().sum(),
                    crate::kid(a, b).unwrap(),
                    crate::cmmd(a, b).unwrap(),
                    share(crate::on_manifold(a, b, 3).unwrap()),
                    share(near.of_fakes),
                    share(near.of_reals),
                    crate::mean_cosine(a, &a.select(&(0..a.rows()).rev().collect::<Vec<_>>())).unwrap(),
                ]
            };
            let bits = |figures: [f64; 7]| figures.map(f64::to_bits);
            assert_eq!(bits(figures(&a_held, &b_held)), bits(figures(&a_kept, &b_kept)));
        }
    }

    #[test]
    fn a_row_of_zeros_cannot_be_normalised() {
        let set = kept(2, &[3.0, 4.0, 0.0, 0.0]).unwrap().normalised();
        assert_eq!(set.block(0, 1).unwrap(), [0.6, 0.8]);
        assert_eq!(set.each(|_| ()), Err(EvalError::ZeroNorm { row: 1 }));
    }
}
