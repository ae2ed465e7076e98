//! The rows, for people and for programs.

use std::{fmt, fs, path::Path};

use serde::Serialize;

use crate::error::BenchError;

/// One bench's figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) bench: String,
    /// Seconds of one time of the work: the median of the rounds.
    pub(crate) ours_s: f64,
    /// Most memory while it worked, in megabytes.
    pub(crate) ours_peak_mb: f64,
    /// The same beyond what the process had before.
    pub(crate) ours_above_rest_mb: f64,
    #[serde(flatten, serialize_with = "flat")]
    pub(crate) peer: Option<PeerFigures>,
}

/// The other library's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PeerFigures {
    pub(crate) name: String,
    pub(crate) seconds: f64,
    pub(crate) peak_mb: f64,
    /// Our time divided by its: below one, this project is faster.
    pub(crate) ratio: f64,
}

/// `peer, peer_s, peer_peak_mb, ratio`, null without one.
#[expect(clippy::ref_option, reason = "serde hands over what the field is")]
fn flat<S: serde::Serializer>(peer: &Option<PeerFigures>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Flat<'a> {
        peer: Option<&'a str>,
        peer_s: Option<f64>,
        peer_peak_mb: Option<f64>,
        ratio: Option<f64>,
    }
    let peer = peer.as_ref();
    Flat {
        peer: peer.map(|p| p.name.as_str()),
        peer_s: peer.map(|p| p.seconds),
        peer_peak_mb: peer.map(|p| p.peak_mb),
        ratio: peer.map(|p| p.ratio),
    }
    .serialize(serializer)
}

/// Above the rows; a table in Markdown.
pub(crate) const HEADING: &str = "\
| bench                           |   ours ms |  peak MB | above rest MB | peer          |   peer ms |  peak MB | ours / peer |
|---------------------------------|----------:|---------:|--------------:|---------------|----------:|---------:|------------:|";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bench, ours_s, ours_peak_mb, ours_above_rest_mb, peer } = self;
        let ours_ms = 1e3 * ours_s;
        write!(f, "| {bench:<31} | {ours_ms:>9.2} | {ours_peak_mb:>8.0} | {ours_above_rest_mb:>13.0} |")?;
        match peer {
            None => write!(f, " {:<13} | {:>9} | {:>8} | {:>11} |", "", "", "", ""),
            Some(PeerFigures { name, seconds, peak_mb, ratio }) => {
                write!(f, " {name:<13} | {:>9.2} | {peak_mb:>8.0} | {ratio:>11.2} |", 1e3 * seconds)
            }
        }
    }
}

/// All rows as a JSON array.
pub(crate) fn write(path: &Path, rows: &[Row]) -> Result<(), BenchError> {
    let text = serde_json::to_string_pretty(rows).expect("numbers and names are sayable");
    fs::write(path, text + "\n").map_err(|source| BenchError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: Option<PeerFigures>) -> Row {
        Row { bench: "a".to_owned(), ours_s: 0.5, ours_peak_mb: 10.0, ours_above_rest_mb: 1.0, peer }
    }

    #[test]
    fn a_program_reads_flat_rows() {
        let peer = PeerFigures { name: "torch".to_owned(), seconds: 1.0, peak_mb: 20.0, ratio: 0.5 };
        let read = serde_json::to_value([row(Some(peer)), row(None)]).unwrap();
        assert_eq!(
            (&read[0]["peer"], &read[0]["peer_s"], &read[0]["ratio"]),
            (&"torch".into(), &1.0.into(), &0.5.into())
        );
        assert!(read[1]["peer"].is_null() && read[1]["ratio"].is_null());
    }

    #[test]
    fn every_line_of_the_table_has_the_same_columns() {
        let peer = PeerFigures { name: "torch".to_owned(), seconds: 1.0, peak_mb: 20.0, ratio: 0.5 };
        let lines = [row(Some(peer)).to_string(), row(None).to_string()];
        for line in HEADING.lines().chain(lines.iter().map(String::as_str)) {
            assert_eq!(line.matches('|').count(), 9, "{line}");
        }
    }
}
