//! The evaluation as a table that fits the page: a line for each setting, what belongs to a number in small letters below it.

use add_charts::format_number;
use serde::Serialize;

use super::page::thousands;
use crate::table::{Line, Pivot, reach};
use crate::{Better, Row};

/// An evaluation, ready to be shown: `metrics` with their better side, and a line for each setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    metrics: Vec<Heading>,
    lines: Vec<TableLine>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Heading {
    name: String,
    arrow: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct TableLine {
    model: String,
    /// Steps, sampler, guidance, side.
    how: String,
    split: String,
    /// Number of pictures, hash of the captions.
    of: String,
    values: Vec<Cell>,
    speed: Cell,
}

/// A number, and in small letters what belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Cell {
    text: String,
    notes: Vec<String>,
    best: bool,
}

/// The evaluation with a line for each setting; `None` where there are no rows.
pub fn table(rows: &[Row]) -> Option<Table> {
    let pivot = Pivot::of(rows);
    let metrics = pivot.metrics.iter().map(|metric| Heading {
        name: (*metric).to_owned(),
        arrow: match better(&pivot, metric) {
            Some(Better::Lower) => "↓",
            Some(Better::Higher) => "↑",
            None => "",
        },
    });
    let lines = pivot.lines.iter().map(|line| {
        let Row { model, split, captions, .. } = line.setting;
        let count = format!("n {}", thousands(line.n()));
        let hash = captions.as_ref().map(|hash| format!("captions {hash}"));
        TableLine {
            model: model.clone(),
            how: how(line.setting),
            split: split.clone(),
            of: [Some(count), hash].into_iter().flatten().collect::<Vec<_>>().join(", "),
            values: pivot.metrics.iter().map(|metric| cell(&pivot, line, metric)).collect(),
            speed: speed(line),
        }
    });
    (!rows.is_empty()).then(|| Table { metrics: metrics.collect(), lines: lines.collect() })
}

fn how(setting: &Row) -> String {
    let Row { steps, sampler, guidance, made_at, .. } = setting;
    if sampler.is_empty() {
        return String::new();
    }
    let steps = if *steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") };
    let guidance = ((guidance - 1.0).abs() > 1e-12).then(|| format!("guidance {}", format_number(*guidance)));
    let made_at = made_at.map(|side| format!("made at {side} px"));
    [Some(steps), Some(sampler.clone()), guidance, made_at]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

fn cell(pivot: &Pivot<'_>, line: &Line<'_>, metric: &str) -> Cell {
    let value = line.value(metric);
    let interval = line.row(metric).and_then(reach).map(|r| format!("± {}", pivot.text(metric, Some(r))));
    let n = line.own_n(metric).map(|n| format!("n {}", thousands(n)));
    Cell {
        text: pivot.text(metric, value),
        notes: [interval, n].into_iter().flatten().collect(),
        best: value.is_some_and(|value| is_best(pivot, metric, &line.setting.split, value)),
    }
}

/// Seconds a picture: alone where that was measured, else in a batch.
fn speed(line: &Line<'_>) -> Cell {
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), format_number);
    let memory = line.gibibytes().map(|g| format!("{} GiB", format_number(g)));
    let (text, notes) = match line.latency() {
        Some(latency) => {
            let batch = line.seconds().map(|seconds| format!("batch {}", format_number(seconds)));
            let p95 = format!("p95 {}", format_number(latency.p95));
            let first = format!("first {}", format_number(latency.first));
            (format_number(latency.median), vec![Some(p95), Some(first), batch, memory])
        }
        None => (number(line.seconds()), vec![memory]),
    };
    Cell { text, notes: notes.into_iter().flatten().collect(), best: false }
}

/// Which way a metric improves, as its rows say.
fn better(pivot: &Pivot<'_>, metric: &str) -> Option<Better> {
    pivot.lines.iter().find_map(|line| line.row(metric)?.better)
}

/// Whether no setting of the same split does better, and at least one does worse.
fn is_best(pivot: &Pivot<'_>, metric: &str, split: &str, value: f64) -> bool {
    let sign = match better(pivot, metric) {
        Some(Better::Lower) => -1.0,
        Some(Better::Higher) => 1.0,
        None => return false,
    };
    let rivals = || {
        let same = pivot.lines.iter().filter(|line| line.setting.split == split);
        same.filter_map(|line| line.value(metric)).map(|other| sign * other)
    };
    rivals().all(|other| other <= sign * value) && rivals().any(|other| other < sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(model: &str, split: &str, metric: &str, value: f64) -> Row {
        Row {
            model: model.to_owned(),
            steps: 1,
            sampler: "add".to_owned(),
            guidance: 1.0,
            split: split.to_owned(),
            metric: metric.to_owned(),
            better: match metric {
                "fid" => Some(Better::Lower),
                "recall" => Some(Better::Higher),
                _ => None,
            },
            value,
            n: 5000,
            ..Row::default()
        }
    }

    #[test]
    fn the_best_of_a_split_is_marked_in_the_metrics_own_direction() {
        let rows = [
            row("a", "val", "fid", 10.0),
            row("b", "val", "fid", 12.0),
            row("c", "test", "fid", 1.0),
            row("a", "val", "recall", 0.2),
            row("b", "val", "recall", 0.4),
            row("a", "val", "diversity", 0.2),
            row("b", "val", "diversity", 0.3),
        ];
        let table = table(&rows).unwrap();
        let best: Vec<Vec<bool>> =
            table.lines.iter().map(|line| line.values.iter().map(|cell| cell.best).collect()).collect();
        assert_eq!(best, [[true, false, false], [false, true, false], [false, false, false]]);
        assert_eq!(table.lines[2].values[1].text, "–");
    }
}
