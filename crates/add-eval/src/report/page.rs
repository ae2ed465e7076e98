//! What the page's template is given, and the page.

use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

use super::ReportError;
use super::axis::{Scale, short};
use super::chart::draw;
use super::groups::{Presentation, group};
use super::log::MetricsLog;
use super::samples::Samples;
use crate::names::{Better, better};
use crate::table::{Pivot, format_number};
use crate::{Row, TableError};

/// A whole page in words, numbers and drawings.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    name: String,
    kind: &'static str,
    facts: Vec<Fact>,
    notes: Vec<Note>,
    grids: Vec<Figure>,
    /// Class of the grids' layout: `side` by side, or `stacked` where they are wide.
    layout: &'static str,
    table: Option<Table>,
    charts: Vec<Chart>,
    recipe: Option<String>,
    has_metrics: bool,
}

#[derive(Debug, Serialize)]
struct Fact {
    label: String,
    value: String,
}

/// Something missing or damaged: `before`, a file name, `after`.
#[derive(Debug, Serialize)]
struct Note {
    before: String,
    file: String,
    after: String,
}

#[derive(Debug, Serialize)]
struct Figure {
    when: &'static str,
    step: String,
    width: u32,
    height: u32,
    uri: String,
    /// Small pictures are enlarged without blurring.
    pixelated: bool,
}

#[derive(Debug, Serialize)]
struct Chart {
    title: String,
    note: &'static str,
    log: bool,
    svg: String,
    legend: Vec<Fact>,
}

#[derive(Debug, Serialize)]
struct Table {
    metrics: Vec<Heading>,
    lines: Vec<TableLine>,
}

#[derive(Debug, Serialize)]
struct Heading {
    name: String,
    arrow: &'static str,
}

#[derive(Debug, Serialize)]
struct TableLine {
    model: String,
    steps: u32,
    sampler: String,
    guidance: String,
    split: String,
    n: String,
    values: Vec<Cell>,
    seconds: String,
}

#[derive(Debug, Serialize)]
struct Cell {
    text: String,
    best: bool,
}

impl Page {
    /// Gathers the parts of a run.
    pub(super) fn new(
        name: &str,
        presentation: &Presentation,
        log: &MetricsLog,
        samples: &Samples,
        evaluation: Option<Result<Vec<Row>, TableError>>,
        recipe: Option<String>,
    ) -> Result<Self, ReportError> {
        let mut notes = notes(log, samples, recipe.is_none());
        let rows = match evaluation {
            Some(Ok(rows)) => rows,
            Some(Err(error)) => {
                notes.push(note("", "evaluation.json", &format!(" could not be read: {error}.")));
                Vec::new()
            }
            None => Vec::new(),
        };
        let wide = samples.grids.iter().any(|grid| u64::from(grid.width) * 2 > u64::from(grid.height) * 3);
        Ok(Self {
            name: name.to_owned(),
            kind: presentation.title,
            facts: facts(presentation, log, samples),
            notes,
            grids: figures(samples),
            layout: if wide { "stacked" } else { "side" },
            table: table(&rows),
            charts: charts(presentation, log)?,
            recipe,
            has_metrics: log.lines > 0,
        })
    }

    /// The page as HTML.
    pub(super) fn to_html(&self) -> Result<String, ReportError> {
        let mut templates = Environment::new();
        templates.set_auto_escape_callback(|_| AutoEscape::Html);
        templates.set_trim_blocks(true);
        templates.set_lstrip_blocks(true);
        templates.add_template("report", include_str!("report.html"))?;
        let style = include_str!("report.css");
        Ok(templates.get_template("report")?.render(context! { page => self, style => style })?)
    }
}

fn facts(presentation: &Presentation, log: &MetricsLog, samples: &Samples) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |label: &str, value: String| facts.push(Fact { label: label.to_owned(), value });
    if let Some((_, last)) = log.steps {
        add("last step", thousands(last));
        add("logged lines", thousands((log.lines - log.skipped) as u64));
    }
    if let Some((label, value)) = log.scalar("seconds").and_then(pace) {
        add(label, value);
    }
    for key in presentation.headline {
        // Last tenth of the curve: one step's loss says little.
        if let Some(points) = log.scalar(key).filter(|points| !points.is_empty()) {
            let tail = &points[points.len() - points.len().div_ceil(10)..];
            let mean = tail.iter().map(|point| point.1).sum::<f64>() / tail.len() as f64;
            add(&format!("{key}, last tenth"), format_number(mean));
        }
    }
    if samples.count > 0 {
        add("sample grids", thousands(samples.count as u64));
    }
    facts
}

/// `seconds` is a clock where every value is above the one before, else the time of a step.
fn pace(points: &[(f64, f64)]) -> Option<(&'static str, String)> {
    let (_, last) = *points.last()?;
    if points.len() > 2 && points.windows(2).all(|pair| pair[0].1 < pair[1].1) {
        return Some(("elapsed", duration(last)));
    }
    let mut values: Vec<f64> = points.iter().map(|point| point.1).collect();
    values.sort_unstable_by(f64::total_cmp);
    Some(("median seconds a step", format_number(values[values.len() / 2])))
}

fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match (whole / 3600, whole / 60 % 60) {
        (0, 0) => format!("{} s", format_number(seconds)),
        (0, minutes) => format!("{minutes} min {:02} s", whole % 60),
        (hours, minutes) => format!("{hours} h {minutes:02} min"),
    }
}

fn notes(log: &MetricsLog, samples: &Samples, no_recipe: bool) -> Vec<Note> {
    let mut notes = Vec::new();
    if log.skipped > 0 {
        let count = format!("{} of {} lines of ", thousands(log.skipped as u64), thousands(log.lines as u64));
        notes.push(note(&count, "metrics.jsonl", " are no objects with a step and were skipped."));
    }
    if log.not_finite > 0 {
        let (count, verb) = match log.not_finite {
            1 => ("1 value was".to_owned(), "is"),
            many => (format!("{} values were", thousands(many as u64)), "are"),
        };
        notes.push(note(
            &format!("{count} not finite when logged and {verb} missing from the curves."),
            "",
            "",
        ));
    }
    if log.cut {
        notes.push(note("The run logged more curves than a page takes; the rest are left out.", "", ""));
    }
    for name in &samples.unreadable {
        notes.push(note("", name, " is no PNG or too large and is not shown."));
    }
    if log.lines == 0 {
        notes.push(note("The folder has no ", "metrics.jsonl", " or it is empty."));
    }
    if no_recipe {
        notes.push(note("The folder has no ", "recipe.ron", "."));
    }
    if samples.count == 0 {
        notes.push(note("The folder has no sample grids.", "", ""));
    }
    notes
}

fn note(before: &str, file: &str, after: &str) -> Note {
    Note { before: before.to_owned(), file: file.to_owned(), after: after.to_owned() }
}

fn figures(samples: &Samples) -> Vec<Figure> {
    let names: &[&str] = match samples.grids.len() {
        3 => &["before", "during", "after"],
        2 => &["before", "after"],
        _ => &["sample"],
    };
    let figure = |(grid, &when): (&super::samples::Grid, &&'static str)| Figure {
        when,
        step: thousands(grid.step),
        width: grid.width,
        height: grid.height,
        uri: grid.uri.clone(),
        pixelated: grid.width < 400,
    };
    samples.grids.iter().zip(names).map(figure).collect()
}

fn charts(presentation: &Presentation, log: &MetricsLog) -> Result<Vec<Chart>, ReportError> {
    group(log, presentation.charts)
        .iter()
        .map(|group| {
            let drawing = draw(&group.title, &group.curves)?;
            let legend = drawing.legend.into_iter();
            Ok(Chart {
                title: group.title.clone(),
                note: group.note,
                log: drawing.scale == Scale::Log,
                svg: drawing.svg,
                legend: legend.map(|(label, last)| Fact { label, value: short(last) }).collect(),
            })
        })
        .collect()
}

/// The evaluation with a line for each setting; `None` where there are no rows.
fn table(rows: &[Row]) -> Option<Table> {
    let pivot = Pivot::of(rows);
    let metrics = pivot.metrics.iter().map(|metric| Heading {
        name: (*metric).to_owned(),
        arrow: match better(metric) {
            Some(Better::Lower) => "↓",
            Some(Better::Higher) => "↑",
            None => "",
        },
    });
    let lines = pivot.lines.iter().map(|line| {
        let values = pivot.metrics.iter().map(|metric| {
            let value = line.value(metric);
            let best = value.is_some_and(|value| is_best(&pivot, metric, &line.setting.split, value));
            Cell { text: pivot.text(metric, value), best }
        });
        let Row { model, steps, sampler, guidance, split, n, seconds_per_image, .. } = line.setting;
        TableLine {
            model: model.clone(),
            steps: *steps,
            sampler: sampler.clone(),
            guidance: format_number(*guidance),
            split: split.clone(),
            n: thousands(*n),
            values: values.collect(),
            seconds: seconds_per_image.map_or_else(|| "–".to_owned(), format_number),
        }
    });
    (!rows.is_empty()).then(|| Table { metrics: metrics.collect(), lines: lines.collect() })
}

/// Whether no setting of the same split does better, and at least one does worse.
fn is_best(pivot: &Pivot<'_>, metric: &str, split: &str, value: f64) -> bool {
    let sign = match better(metric) {
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

/// `12345` as `12,345`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
            value,
            n: 5000,
            seconds_per_image: None,
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

    #[test]
    fn seconds_are_a_clock_only_where_they_always_rise() {
        let points = |values: &[f64]| values.iter().map(|&value| (0.0, value)).collect::<Vec<_>>();
        assert_eq!(pace(&points(&[1.0, 60.0, 3700.0])), Some(("elapsed", "1 h 01 min".to_owned())));
        assert_eq!(pace(&points(&[0.5, 0.7, 0.6])), Some(("median seconds a step", "0.6000".to_owned())));
        assert_eq!(pace(&points(&[])), None);
        assert_eq!((duration(75.0), duration(4.25)), ("1 min 15 s".to_owned(), "4.250 s".to_owned()));
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
