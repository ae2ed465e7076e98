//! The report as a page, in the style of a run's report: readable years later and without a network.

use add_charts::{PALETTE, Point, scatter};
use add_eval::report::STYLE;
use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

use super::{Report, Resampled, Share, markdown::estimate, percent};
use crate::{Study, StudyError};

/// What the template is given of a pair.
#[derive(Serialize)]
struct PairLine<'a> {
    first: &'a str,
    second: &'a str,
    n: u64,
    bars: [Bar; 2],
}

/// A share as words and as a bar.
#[derive(Serialize)]
struct Bar {
    share: String,
    rest: String,
    interval: String,
    ties: u64,
    /// How much of the bar is filled, in percent.
    width: f64,
    low: f64,
    high: f64,
    empty: bool,
}

/// What the template is given of a model.
#[derive(Serialize)]
struct ModelLine<'a> {
    name: &'a str,
    seconds: Option<String>,
    elo: [String; 3],
    strength: [String; 3],
}

/// The page as HTML.
pub(super) fn of(report: &Report, study: &Study) -> Result<String, StudyError> {
    let mut models: Vec<&super::ModelRow> = report.models.iter().collect();
    models.sort_by(|a, b| b.elo.mean.total_cmp(&a.elo.mean));
    let points = models
        .iter()
        .filter_map(|model| Some(Point { label: model.name.clone(), x: model.latency?, y: model.elo.mean }));
    let points: Vec<Point> = points.collect();
    let plot = (!points.is_empty())
        .then(|| scatter(&points, "seconds a picture", "Elo, mean of both questions"))
        .transpose()?;
    let models: Vec<ModelLine<'_>> = models
        .into_iter()
        .map(|model| ModelLine {
            name: &model.name,
            seconds: model.latency.map(|seconds| seconds.to_string()),
            elo: [model.elo.mean, model.elo.prompt, model.elo.quality].map(|elo| format!("{elo:.1}")),
            strength: [model.strength.mean, model.strength.prompt, model.strength.quality].map(estimate),
        })
        .collect();
    let pairs: Vec<PairLine<'_>> = report
        .pairs
        .iter()
        .map(|pair| PairLine {
            first: &pair.first,
            second: &pair.second,
            n: pair.prompt.n(),
            bars: [bar(&pair.prompt), bar(&pair.quality)],
        })
        .collect();
    let left = |voter: &super::VoterRow| voter.left.map_or_else(|| "–".to_owned(), percent);
    let voters: Vec<[String; 4]> = report
        .by_voter
        .iter()
        .map(|voter| {
            [voter.voter.clone(), voter.votes.to_string(), percent(voter.no_preference), left(voter)]
        })
        .collect();
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates.set_trim_blocks(true);
    templates.set_lstrip_blocks(true);
    templates.add_template("study", include_str!("report.html"))?;
    let style = [PALETTE, STYLE, include_str!("report.css")].concat();
    Ok(templates.get_template("study")?.render(context! {
        report => report,
        style => style,
        by_votes => report.resampled == Resampled::Votes,
        comparisons => study.comparisons(),
        models => models,
        pairs => pairs,
        voters => voters,
        plot => plot,
    })?)
}

fn bar(share: &Share) -> Bar {
    let value = share.share.unwrap_or(0.5);
    Bar {
        share: percent(value),
        rest: percent(1.0 - value),
        interval: format!("{} to {}", percent(share.low), percent(share.high)),
        ties: share.ties,
        width: 100.0 * value,
        low: 100.0 * share.low,
        high: 100.0 * share.high,
        empty: share.share.is_none(),
    }
}
