//! Samples that could not be used, by reason, and how many are too many.

use std::collections::{BTreeMap, BTreeSet};

use tracing::warn;

use crate::{DataError, Skipped};

/// Reasons that an error spells out.
const TOLD: usize = 5;

/// Counts distinct samples of one split.
///
/// What is counted belongs to one process: a resumed run meets its bad samples again, in the same places.
#[derive(Debug)]
pub struct BadSamples {
    len: usize,
    by_reason: BTreeMap<String, BTreeSet<usize>>,
}

impl BadSamples {
    /// None yet, of `len` samples.
    pub fn of(len: usize) -> Self {
        Self { len, by_reason: BTreeMap::new() }
    }

    /// How many distinct samples could not be used, by reason.
    pub fn by_reason(&self) -> impl Iterator<Item = (&str, usize)> {
        self.by_reason.iter().map(|(reason, indices)| (reason.as_str(), indices.len()))
    }

    /// Adds a batch's unusable samples, and logs each at its first time.
    ///
    /// # Errors
    /// When they are more than 1% of the data: the run must not go on.
    pub fn count(&mut self, skipped: &[Skipped]) -> Result<(), DataError> {
        for Skipped { index, file, reason } in skipped {
            let of_reason = self.by_reason.entry(reason.clone()).or_default();
            if of_reason.insert(*index) {
                warn!(index, file, reason, count = of_reason.len(), "a sample cannot be used and is skipped");
            }
        }
        let bad: usize = self.by_reason.values().map(BTreeSet::len).sum();
        if bad * 100 <= self.len {
            return Ok(());
        }
        let mut reasons: Vec<_> = self.by_reason().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut told: Vec<_> =
            reasons.iter().take(TOLD).map(|(reason, count)| format!("{reason} ({count})")).collect();
        if reasons.len() > TOLD {
            told.push(format!("{} more reasons", reasons.len() - TOLD));
        }
        Err(DataError::TooManyBad { bad, len: self.len, reasons: told.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(index: usize, reason: &str) -> Skipped {
        Skipped { index, file: format!("{index}.jpg"), reason: reason.to_owned() }
    }

    #[test]
    fn a_sample_counts_once_and_one_percent_is_allowed() {
        let mut bad = BadSamples::of(200);
        for _ in 0..3 {
            bad.count(&[skipped(7, "truncated"), skipped(8, "no caption")]).expect("1%");
        }
        assert_eq!(bad.by_reason().collect::<Vec<_>>(), [("no caption", 1), ("truncated", 1)]);
        let error = bad.count(&[skipped(9, "truncated")]).expect_err("1.5%").to_string();
        assert!(error.contains("3 of 200") && error.contains("truncated (2), no caption (1)"), "{error}");
    }

    #[test]
    fn many_reasons_are_summed_up() {
        let mut bad = BadSamples::of(10);
        let each: Vec<_> = (0..9).map(|i| skipped(i, &format!("reason {i}"))).collect();
        assert!(bad.count(&each).expect_err("90%").to_string().ends_with("4 more reasons"));
    }
}
