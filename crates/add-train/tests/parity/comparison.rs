//! Numbers against their reference, all collected before any is complained about.

use std::{collections::BTreeMap, io::Write};

struct Row {
    what: String,
    error: f64,
    tolerance: f64,
}

/// All numbers of a run.
pub(crate) struct Comparison {
    name: String,
    rows: Vec<Row>,
}

impl Comparison {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), rows: Vec::new() }
    }

    /// Notes how far `got` is from `want`, relative to the largest wanted value or to `floor`.
    pub(crate) fn add(&mut self, what: &str, got: &[f64], want: &[f64], tolerance: f64, floor: f64) {
        assert_eq!(got.len(), want.len(), "{what}");
        let largest = want.iter().fold(floor.max(f64::MIN_POSITIVE), |largest, w| largest.max(w.abs()));
        let errors = got.iter().zip(want).map(|(g, w)| (g - w).abs() / largest);
        // A maximum would lose a NaN.
        let error = errors.fold(0.0, |worst, e| if e <= worst { worst } else { e });
        self.rows.push(Row { what: what.to_owned(), error, tolerance });
    }

    /// Fails with every row beyond its tolerance; `at_least` guards against a test that compares nothing.
    pub(crate) fn finish(self, at_least: usize) {
        assert!(self.rows.len() >= at_least, "{}: {} rows of {at_least}", self.name, self.rows.len());
        let failed: Vec<String> = self
            .rows
            .iter()
            .filter(|row| row.error.is_nan() || row.error > row.tolerance)
            .map(|row| format!("\n  {}: off by {:.2e}, tolerance {:.0e}", row.what, row.error, row.tolerance))
            .collect();
        let worst = self.worst_of_each_kind();
        assert!(
            failed.is_empty(),
            "{}: {} of {} rows:{}\nworst of each kind:{worst}",
            self.name,
            failed.len(),
            self.rows.len(),
            failed.concat()
        );
        let note = format!("{}: {} rows, worst of each kind:{worst}\n", self.name, self.rows.len());
        std::io::stderr().write_all(note.as_bytes()).expect("stderr");
    }

    /// A row's kind is its name's first word.
    fn worst_of_each_kind(&self) -> String {
        let mut worst = BTreeMap::<&str, &Row>::new();
        for row in &self.rows {
            let kind = row.what.split(' ').next().unwrap_or_default();
            let entry = worst.entry(kind).or_insert(row);
            if row.error > entry.error {
                *entry = row;
            }
        }
        let lines: Vec<String> =
            worst.values().map(|row| format!("\n  {:.1e} {}", row.error, row.what)).collect();
        lines.concat()
    }
}
