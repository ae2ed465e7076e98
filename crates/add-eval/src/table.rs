//! Rows of an evaluation, as JSON (`evaluation.json` is a list of them) and as a Markdown table.

use add_charts::format_number;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One number with everything needed to know what it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Name of the model.
    pub model: String,
    /// Sampling steps (network evaluations per picture, guidance not counted); 0 where nothing was sampled.
    pub steps: u32,
    /// Sampler; empty where nothing was sampled.
    pub sampler: String,
    /// Classifier-free guidance scale; 1 is none.
    pub guidance: f64,
    /// The side at which pictures were made, in pixels, where that is not the side at which they were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<u32>,
    /// Split of the data whose captions and pictures were used.
    pub split: String,
    /// The beginning of the SHA-256 over the captions, one a line: equal lists have equal hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captions: Option<String>,
    /// Name of the metric, protocol included.
    pub metric: String,
    /// Which way the metric improves; `None` where neither side is better, and in files of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub better: Option<Better>,
    /// The number, in the metric's unit.
    pub value: f64,
    /// The interval that holds the number with 95 % confidence, as far as the choice of pictures goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
    /// Pictures evaluated.
    pub n: u64,
    /// Seconds to make one picture, measured; `None` where nothing was sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_per_image: Option<f64>,
    /// Seconds from one caption to its picture, alone in its batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// The most memory that the process had taken by the end of the row, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
}

/// Seconds from one caption to its picture: text encoder, denoiser and codec together, one picture at a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// The very first picture after the model was loaded.
    pub first: f64,
    /// The median of the pictures after that one.
    pub median: f64,
    /// What 95 % of them stay below.
    pub p95: f64,
}

/// Which way a metric improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Smaller is better.
    Lower,
    /// Larger is better.
    Higher,
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
        let (low, high) = row.interval.unwrap_or_default();
        let times = row.latency.map_or([0.0; 3], |latency| [latency.first, latency.median, latency.p95]);
        let numbers = [row.value, row.guidance, row.seconds_per_image.unwrap_or(0.0), low, high];
        if let Some(&got) = numbers.iter().chain(&times).find(|number| !number.is_finite()) {
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
    /// A row of the setting, for everything but metric, value and count.
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
        let speed = ["s/image", "latency", "p95", "first", "GiB"].map(str::to_owned);
        let kept = if self.lines.iter().any(|line| line.latency().is_some()) { 5 } else { 1 };
        fixed.into_iter().map(str::to_owned).chain(metrics).chain(speed.into_iter().take(kept)).collect()
    }

    fn cells(&self, line: &Line<'_>) -> Vec<String> {
        let Row { model, steps, sampler, guidance, split, .. } = line.setting;
        let sampled = !sampler.is_empty();
        let if_sampled = |text: String| if sampled { text } else { ABSENT.to_owned() };
        let mut cells = vec![escape(model), if_sampled(steps.to_string()), if_sampled(escape(sampler))];
        cells.extend([if_sampled(format_number(*guidance)), escape(split), line.n().to_string()]);
        cells.extend(self.metrics.iter().map(|metric| self.cell(line, metric)));
        let number = |value: Option<f64>| value.map_or_else(|| ABSENT.to_owned(), format_number);
        cells.push(number(line.seconds()));
        if self.lines.iter().any(|line| line.latency().is_some()) {
            let latency = line.latency();
            cells.extend(
                [latency.map(|l| l.median), latency.map(|l| l.p95), latency.map(|l| l.first)].map(number),
            );
            cells.push(number(line.gibibytes()));
        }
        cells
    }

    /// A value with half the width of its interval, and its own count where that is not the line's.
    pub(crate) fn cell(&self, line: &Line<'_>, metric: &str) -> String {
        let value = self.text(metric, line.value(metric));
        let reach = line.row(metric).and_then(reach).map(|r| format!(" ± {}", self.text(metric, Some(r))));
        let n = line.own_n(metric).map(|n| format!(" (n {n})"));
        [Some(value), reach, n].into_iter().flatten().collect()
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
    /// The metric's row in this setting.
    pub(crate) fn row(&self, metric: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.metric == metric).copied()
    }

    /// The metric's value in this setting.
    pub(crate) fn value(&self, metric: &str) -> Option<f64> {
        self.row(metric).map(|row| row.value)
    }

    /// The number of pictures behind most of the values.
    pub(crate) fn n(&self) -> u64 {
        self.rows
            .iter()
            .map(|row| row.n)
            .max_by_key(|n| self.rows.iter().filter(|row| row.n == *n).count())
            .unwrap_or(0)
    }

    /// The number behind a metric's value, where it is another.
    pub(crate) fn own_n(&self, metric: &str) -> Option<u64> {
        self.row(metric).map(|row| row.n).filter(|n| *n != self.n())
    }

    /// Seconds to make one picture in a batch.
    pub(crate) fn seconds(&self) -> Option<f64> {
        self.rows.iter().find_map(|row| row.seconds_per_image)
    }

    /// Seconds to make one picture alone.
    pub(crate) fn latency(&self) -> Option<Latency> {
        self.rows.iter().find_map(|row| row.latency)
    }

    /// The process's memory in GiB.
    pub(crate) fn gibibytes(&self) -> Option<f64> {
        let bytes = self.rows.iter().find_map(|row| row.peak_memory)?;
        Some(bytes as f64 / f64::from(1 << 30))
    }
}

/// Half the width of the interval.
pub(crate) fn reach(row: &Row) -> Option<f64> {
    row.interval.map(|(low, high)| (high - low) / 2.0)
}

fn same_setting(a: &Row, b: &Row) -> bool {
    (&a.model, a.steps, &a.sampler, &a.split) == (&b.model, b.steps, &b.sampler, &b.split)
        && (a.guidance.to_bits(), a.made_at, &a.captions) == (b.guidance.to_bits(), b.made_at, &b.captions)
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
            ..Row::default()
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
    fn a_count_of_its_own_and_an_interval_stand_in_the_cell() {
        let diversity = Row { n: 128, seconds_per_image: None, ..row("s", 1, "diversity", 0.25) };
        let fid = Row { interval: Some((1.5, 2.5)), ..row("s", 1, "fid", 2.0) };
        let text = to_markdown(&[fid, row("s", 1, "kid", 0.5), diversity]);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("| 2.000 ± 0.500 |") && text.contains("0.250 (n 128) | 0.01250 |"), "{text}");
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
}
