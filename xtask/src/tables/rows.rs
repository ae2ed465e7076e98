//! The list of rows.

use std::path::Path;

use serde::Deserialize;

use crate::workspace::read_json;

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// The paper's table, such as `1d`.
    pub(super) table: String,
    /// What the paper calls the row.
    #[serde(rename = "row")]
    pub(super) name: String,
    /// Its recipe, below `configs`.
    pub(super) recipe: String,
    /// Whether the table's other rows are compared with this one.
    #[serde(default)]
    pub(super) reference: bool,
    /// The paper's FID; none where the paper has no such row.
    #[serde(default)]
    pub(super) fid: Option<f64>,
    /// The paper's CLIP score.
    #[serde(default)]
    pub(super) clip_score: Option<f64>,
    /// Sampling steps of the figures.
    #[serde(default = "one")]
    pub(super) steps: u64,
    /// The field of the student's learning rate.
    #[serde(default = "student_rate")]
    pub(super) rate: String,
    /// Learning rates that are tried; none for the recipe's own.
    #[serde(default = "tried")]
    pub(super) rates: Vec<f64>,
}

fn one() -> u64 {
    1
}

fn student_rate() -> String {
    "objective.generator.lr".to_owned()
}

/// Around the main recipe's, over which the rows differ: a loss alone wants another rate than both.
fn tried() -> Vec<f64> {
    vec![5e-4, 1.5e-4, 5e-5]
}

/// Reads the list at `path`.
pub(super) fn read(path: &Path) -> Result<Vec<Row>, String> {
    read_json(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_row_says_what_differs_from_the_usual() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.json");
        let row = r#"{"table": "1d", "row": "L_adv", "recipe": "a.ron", "fid": 20.8, "clip_score": 0.315}"#;
        fs::write(&path, format!("[{row}]")).unwrap();
        let rows = read(&path).unwrap();
        assert_eq!((rows[0].steps, rows[0].rates.len(), rows[0].reference), (1, 3, false));
        assert_eq!(rows[0].rate, "objective.generator.lr");
        fs::write(&path, format!("[{}]", row.replace("fid", "fad"))).unwrap();
        assert!(read(&path).unwrap_err().contains("fad"));
    }
}
