//! The report as Markdown, for the terminal and for notes.

use std::fmt::Write as _;

use super::{Estimate, Report, Resampled, Share, percent};

/// The whole report.
pub(super) fn of(report: &Report) -> String {
    let mut text = format!(
        "# Preference study\n\n{} votes of {} voters on {} captions\n",
        report.votes, report.voters, report.captions
    );
    text += "\n| model | seconds | Elo | prompt | quality | strength | prompt | quality |\n|---|---:|---:|---:|---:|---:|---:|---:|\n";
    for model in &report.models {
        let seconds = model.latency.map_or_else(|| "–".to_owned(), |seconds| seconds.to_string());
        let (elo, strength) = (model.elo, model.strength);
        let _ = writeln!(
            text,
            "| {} | {seconds} | {:.1} | {:.1} | {:.1} | {} | {} | {} |",
            escape(&model.name),
            elo.mean,
            elo.prompt,
            elo.quality,
            estimate(strength.mean),
            estimate(strength.prompt),
            estimate(strength.quality)
        );
    }
    let resampled = match report.resampled {
        Resampled::Voters => "voters",
        Resampled::Votes => "votes",
    };
    let _ = write!(
        text,
        "\nElo: K = 1 from 1000, mean over 1000 orders. Strength: Bradley-Terry on the same scale, 95% by drawing {resampled} again.\n\
         \n| preferred to | | prompt, % | quality, % | votes | ties |\n|---|---|---:|---:|---:|---:|\n"
    );
    for pair in &report.pairs {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {}, {} |",
            escape(&pair.first),
            escape(&pair.second),
            share(&pair.prompt),
            share(&pair.quality),
            pair.prompt.n(),
            pair.prompt.ties,
            pair.quality.ties
        );
    }
    text += "\n| voter | votes | no preference, % | left, % |\n|---|---:|---:|---:|\n";
    for voter in &report.by_voter {
        let left = voter.left.map_or_else(|| "–".to_owned(), percent);
        let (name, none) = (escape(&voter.voter), percent(voter.no_preference));
        let _ = writeln!(text, "| {name} | {} | {none} | {left} |", voter.votes);
    }
    for warning in &report.warnings {
        let _ = write!(text, "\nWarning: {warning}");
    }
    text.trim_end().to_owned()
}

/// A figure with its interval.
pub(super) fn estimate(Estimate { value, low, high }: Estimate) -> String {
    format!("{value:.0} [{low:.0}, {high:.0}]")
}

fn share(share: &Share) -> String {
    match share.share {
        Some(value) => format!("{} [{}, {}]", percent(value), percent(share.low), percent(share.high)),
        None => "–".to_owned(),
    }
}

/// A name in a cell of a table.
fn escape(name: &str) -> String {
    name.replace('\\', "\\\\").replace('|', "\\|")
}
