//! What the page's template is given, and the page.

use add_charts::{PALETTE, Scale, draw, format_number, short};
use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

use super::ReportError;
use super::evaluation::{Table, table};
use super::groups::{Presentation, group};
use super::log::MetricsLog;
use super::samples::{Grid, Samples};
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
    /// Captions by models.
    compared: Option<Figure>,
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
        // Where pictures were measured without a run there is nothing to miss.
        let measured_alone = evaluation.is_some() && log.lines == 0;
        let mut notes = if measured_alone { Vec::new() } else { notes(log, samples, recipe.is_none()) };
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
            compared: samples.compared.as_ref().map(|grid| figure(grid, "compared")),
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
        let style = [PALETTE, super::STYLE].concat();
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
    samples.grids.iter().zip(names).map(|(grid, when)| figure(grid, when)).collect()
}

fn figure(grid: &Grid, when: &'static str) -> Figure {
    Figure {
        when,
        step: thousands(grid.step),
        width: grid.width,
        height: grid.height,
        uri: grid.uri.clone(),
        pixelated: grid.width < 400,
    }
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

/// `12345` as `12,345`.
pub(super) fn thousands(number: u64) -> String {
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
