//! Rows of an evaluation, as JSON (`evaluation.json` is a list of them) and as a Markdown table.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One number with everything needed to know what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Name of the model.
    pub model: String,
    /// Sampling steps (network evaluations per picture, guidance not counted).
    pub steps: u32,
    /// Sampler.
    pub sampler: String,
    /// Classifier-free guidance scale; 1 is none.
    pub guidance: f64,
    /// Split of the data whose captions and pictures were used.
    pub split: String,
    /// Name of the metric, see [`crate::names`].
    pub metric: String,
    /// The number, in the metric's unit.
    pub value: f64,
    /// Pictures evaluated.
    pub n: u64,
    /// Seconds to make one picture, measured; `None` where nothing was sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_per_image: Option<f64>,
}

/// `evaluation.json` cannot be written or read.
#[derive(Debug, Error)]
pub enum TableError {
    /// JSON has no way to write NaN or an infinity, and a table should not show one as a result.
    #[error("row {row}, metric `{metric}`: expected a finite number, got {got}")]
    NotFinite {
        /// Index of the row.
        row: usize,
        /// Its metric.
        metric: String,
        /// The number.
        got: f64,
    },
    /// The text is not a list of rows.
    #[error("not a list of evaluation rows: {0}")]
    Json(#[from] serde_json::Error),
}

/// The rows as the text of `evaluation.json`, one list.
///
/// # Errors
/// When a number of a row is not finite.
pub fn to_json(rows: &[Row]) -> Result<String, TableError> {
    for (at, row) in rows.iter().enumerate() {
        let numbers = [row.value, row.guidance, row.seconds_per_image.unwrap_or(0.0)];
        if let Some(&got) = numbers.iter().find(|number| !number.is_finite()) {
            return Err(TableError::NotFinite { row: at, metric: row.metric.clone(), got });
        }
    }
    Ok(serde_json::to_string_pretty(rows)? + "\n")
}

/// Reads the text of `evaluation.json`.
///
/// # Errors
/// When it is not a list of rows.
pub fn read_json(text: &str) -> Result<Vec<Row>, TableError> {
    Ok(serde_json::from_str(text)?)
}

/// The rows as a Markdown table: a line for each setting, a column for each metric, in order of appearance.
pub fn to_markdown(rows: &[Row]) -> String {
    let pivot = Pivot::of(rows);
    let mut table = vec![pivot.header()];
    table.extend(pivot.lines.iter().map(|line| pivot.cells(line)));
    let columns = table[0].len();
    let widths: Vec<usize> = (0..columns)
        .map(|column| table.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0).max(3))
        .collect();
    let render = |cells: &[String]| {
        let padded = cells.iter().enumerate().map(|(at, cell)| {
            let space = " ".repeat(widths[at] - cell.chars().count());
            if LEFT.contains(&at) { format!(" {cell}{space} ") } else { format!(" {space}{cell} ") }
        });
        format!("|{}|\n", padded.collect::<Vec<_>>().join("|"))
    };
    let rule = widths.iter().enumerate().map(|(at, width)| {
        let dashes = "-".repeat(*width);
        if LEFT.contains(&at) { format!(" {dashes} ") } else { format!(" {dashes}:") }
    });
    let mut text = render(&table[0]);
    text.extend(["|", &rule.collect::<Vec<_>>().join("|"), "|\n"]);
    text.extend(table[1..].iter().map(|cells| render(cells)));
    text
}

/// What a cell without a value shows.
const ABSENT: &str = "–";
/// Columns of words, aligned left; the others are numbers.
const LEFT: [usize; 3] = [0, 2, 4];

/// Rows with one line for each setting.
pub(crate) struct Pivot<'a> {
    /// Names of the metrics, one column each.
    pub(crate) metrics: Vec<&'a str>,
    /// One setting each.
    pub(crate) lines: Vec<Line<'a>>,
}

/// The metrics of one setting.
pub(crate) struct Line<'a> {
    /// A row of the setting, for everything but metric and value.
    pub(crate) setting: &'a Row,
    rows: Vec<&'a Row>,
}

impl<'a> Pivot<'a> {
    pub(crate) fn of(rows: &'a [Row]) -> Self {
        let mut pivot = Self { metrics: Vec::new(), lines: Vec::new() };
        for row in rows {
            if !pivot.metrics.contains(&row.metric.as_str()) {
                pivot.metrics.push(&row.metric);
            }
            // A metric measured twice in one setting stays visible: it opens a line of its own.
            let line = pivot
                .lines
                .iter_mut()
                .find(|line| same_setting(line.setting, row) && line.value(&row.metric).is_none());
            match line {
                Some(line) => line.rows.push(row),
                None => pivot.lines.push(Line { setting: row, rows: vec![row] }),
            }
        }
        pivot
    }

    fn header(&self) -> Vec<String> {
        let fixed = ["model", "steps", "sampler", "guidance", "split", "n"];
        let metrics = self.metrics.iter().map(|metric| escape(metric));
        fixed.into_iter().map(str::to_owned).chain(metrics).chain(["s/image".to_owned()]).collect()
    }

    fn cells(&self, line: &Line<'_>) -> Vec<String> {
        let Row { model, steps, sampler, guidance, split, n, seconds_per_image, .. } = line.setting;
        let mut cells = vec![escape(model), steps.to_string(), escape(sampler), format_number(*guidance)];
        cells.extend([escape(split), n.to_string()]);
        cells.extend(self.metrics.iter().map(|metric| self.text(metric, line.value(metric))));
        cells.push(seconds_per_image.map_or_else(|| ABSENT.to_owned(), format_number));
        cells
    }

    /// A value of a metric's column, with as many decimals as the others of the column.
    pub(crate) fn text(&self, metric: &str, value: Option<f64>) -> String {
        let Some(value) = value else { return ABSENT.to_owned() };
        let column = self.lines.iter().filter_map(|line| line.value(metric)).map(f64::abs);
        let (low, high) = column
            .filter(|magnitude| *magnitude > 0.0)
            .fold((f64::INFINITY, 0.0), |(low, high), magnitude| (magnitude.min(low), magnitude.max(high)));
        if high == 0.0 || high >= 1e7 || low < 1e-4 {
            return format_number(value);
        }
        let digits = |magnitude: f64, significant: i32| significant - 1 - magnitude.log10().floor() as i32;
        // Four digits of the largest (three where all are fractions), and never fewer than two of the smallest.
        let decimals = digits(high, if high < 1.0 { 3 } else { 4 }).max(digits(low, 2)).clamp(0, 6) as usize;
        format!("{value:.decimals$}")
    }
}

impl Line<'_> {
    /// The metric's value in this setting.
    pub(crate) fn value(&self, metric: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.metric == metric).map(|row| row.value)
    }
}

fn same_setting(a: &Row, b: &Row) -> bool {
    let same = |x: f64, y: f64| x.to_bits() == y.to_bits();
    (&a.model, a.steps, &a.sampler, &a.split, a.n) == (&b.model, b.steps, &b.sampler, &b.split, b.n)
        && same(a.guidance, b.guidance)
        && a.seconds_per_image.map(f64::to_bits) == b.seconds_per_image.map(f64::to_bits)
}

/// Four significant digits without an exponent where that is readable: `19.73`, `0.3520`, `1.0`, `1234`, `1.2e-7`.
pub(crate) fn format_number(value: f64) -> String {
    let magnitude = value.abs();
    if value.fract() == 0.0 && magnitude < 10.0 {
        format!("{value:.1}")
    } else if magnitude >= 1e7 || (magnitude < 1e-4 && magnitude > 0.0) {
        format!("{value:.2e}")
    } else {
        let decimals = (3 - magnitude.log10().floor() as i32).clamp(0, 7) as usize;
        format!("{value:.decimals$}")
    }
}

/// A cell must not open a column or a line of its own.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(model: &str, steps: u32, metric: &str, value: f64) -> Row {
        Row {
            model: model.to_owned(),
            steps,
            sampler: "add".to_owned(),
            guidance: 1.0,
            split: "val".to_owned(),
            metric: metric.to_owned(),
            value,
            n: 500,
            seconds_per_image: Some(0.0125),
        }
    }

    #[test]
    fn markdown_has_a_line_for_each_setting_and_a_column_for_each_metric() {
        let rows = [
            row("student", 1, "fd-mobilenet", 19.734_21),
            row("student", 1, "top5", 0.352),
            row("a|b", 4, "fd-mobilenet", 123.46),
        ];
        let want = "\
| model   | steps | sampler | guidance | split |   n | fd-mobilenet |  top5 | s/image |
| ------- | -----:| ------- | --------:| ----- | ---:| ------------:| -----:| -------:|
| student |     1 | add     |      1.0 | val   | 500 |         19.7 | 0.352 | 0.01250 |
| a\\|b    |     4 | add     |      1.0 | val   | 500 |        123.5 |     – | 0.01250 |
";
        assert_eq!(to_markdown(&rows), want);
    }

    #[test]
    fn a_metric_measured_twice_is_shown_twice() {
        let rows = [row("s", 1, "kid", 0.5), row("s", 1, "kid", 0.25)];
        assert_eq!(to_markdown(&rows).lines().count(), 4);
    }

    #[test]
    fn a_column_shares_its_decimals_and_loses_no_small_value() {
        let texts = |values: &[f64]| {
            let rows: Vec<Row> =
                values.iter().enumerate().map(|(at, value)| row("m", at as u32, "x", *value)).collect();
            let pivot = Pivot::of(&rows);
            values.iter().map(|value| pivot.text("x", Some(*value))).collect::<Vec<_>>()
        };
        assert_eq!(texts(&[4.83, 11.66]), ["4.83", "11.66"]);
        assert_eq!(texts(&[0.08, 0.092]), ["0.0800", "0.0920"]);
        assert_eq!(texts(&[982.917, -0.2249, 0.0]), ["982.92", "-0.22", "0.00"]);
        assert_eq!(texts(&[1e-9, 3.0]), ["1.00e-9", "3.0"]);
    }

    #[test]
    fn json_round_trips_and_is_a_list() {
        let mut rows = vec![row("student", 1, "kid", 1.0 / 3.0), row("student", 2, "kid", -0.1)];
        rows[1].seconds_per_image = None;
        let text = to_json(&rows).unwrap();
        assert!(text.starts_with("[\n"));
        assert_eq!(read_json(&text).unwrap(), rows);
        assert_eq!(to_json(&[]).unwrap(), "[]\n");
    }

    #[test]
    fn a_number_that_json_cannot_hold_is_refused() {
        let error = to_json(&[row("s", 1, "kid", f64::NAN)]).unwrap_err();
        assert_eq!(error.to_string(), "row 0, metric `kid`: expected a finite number, got NaN");
        assert!(read_json("{}").is_err());
        assert!(read_json(r#"[{"model":"s"}]"#).is_err());
    }

    #[test]
    fn numbers_keep_four_significant_digits() {
        let cases =
            [(0.0, "0.0"), (7.5, "7.500"), (1234.5, "1234"), (0.000_012, "1.20e-5"), (-0.022_49, "-0.02249")];
        for (value, want) in cases {
            assert_eq!(format_number(value), want);
        }
    }
}
