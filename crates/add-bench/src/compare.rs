//! Two sides in turns.

use crate::{
    cases::{Case, Room},
    error::BenchError,
    peer::{Memory, Peer, Side, ours},
    table::{PeerFigures, Row},
};

/// How long one measurement of a short operation lasts at least, in seconds.
const LONG_ENOUGH: f64 = 0.3;
/// Most repetitions in one measurement.
const MOST: f64 = 2000.0;

/// How the benches are done.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// Measurements of each side.
    pub(crate) rounds: u32,
    /// Threads of each side.
    pub(crate) threads: u32,
}

/// Seconds of one time of the work in every round, and the memory of the side.
#[derive(Debug, Default)]
struct Figures {
    seconds: Vec<f64>,
    memory: Option<Memory>,
}

impl Figures {
    fn peak(&self) -> u64 {
        self.memory.map_or(0, |memory| memory.peak)
    }
}

impl Comparison {
    /// Measures one bench, in turns with the other library.
    pub(crate) fn row(&self, case: &Case, peer: Option<&Peer>) -> Result<Row, BenchError> {
        let (ours, theirs) = match case.room {
            Room::Shared => self.side_by_side(case, peer)?,
            Room::Alone => self.one_at_a_time(case, peer)?,
        };
        let rest = ours.memory.map_or(0, |memory| memory.rest);
        Ok(Row {
            bench: case.name.to_owned(),
            ours_s: median(ours.seconds.clone()),
            ours_peak_mb: megabytes(ours.peak()),
            ours_above_rest_mb: megabytes(ours.peak().saturating_sub(rest)),
            peer: peer.map(|peer| PeerFigures {
                name: peer.library.name().to_owned(),
                seconds: median(theirs.seconds.clone()),
                peak_mb: megabytes(theirs.peak()),
                // The median of the rounds' ratios, each of two measurements right after one another.
                ratio: median(ours.seconds.iter().zip(&theirs.seconds).map(|(o, t)| o / t).collect()),
            }),
        })
    }

    fn side_by_side(&self, case: &Case, peer: Option<&Peer>) -> Result<(Figures, Figures), BenchError> {
        let (mut a, mut b) = (Figures::default(), Figures::default());
        let mut our_side = ours(case, self.threads)?;
        let mut other_side = peer.map(|peer| peer.start(case, self.threads)).transpose()?;
        let counts = [count(&mut our_side)?, other_side.as_mut().map_or(Ok(1), count)?];
        for round in 0..self.rounds {
            // Who goes first alternates.
            for turn in [round % 2, (round + 1) % 2] {
                match (turn, &mut other_side) {
                    (0, _) => a.seconds.push(our_side.go(counts[0])? / f64::from(counts[0])),
                    (_, Some(side)) => b.seconds.push(side.go(counts[1])? / f64::from(counts[1])),
                    (_, None) => {}
                }
            }
        }
        a.memory = Some(our_side.end()?);
        b.memory = other_side.map(Side::end).transpose()?;
        Ok((a, b))
    }

    fn one_at_a_time(&self, case: &Case, peer: Option<&Peer>) -> Result<(Figures, Figures), BenchError> {
        let (mut a, mut b) = (Figures::default(), Figures::default());
        let measure = |figures: &mut Figures, mut side: Side| -> Result<(), BenchError> {
            figures.seconds.push(side.go(1)?);
            figures.memory = Some(side.end()?);
            Ok(())
        };
        for _ in 0..self.rounds {
            measure(&mut a, ours(case, self.threads)?)?;
            if let Some(peer) = peer {
                measure(&mut b, peer.start(case, self.threads)?)?;
            }
        }
        Ok((a, b))
    }
}

/// How often a side repeats its work in one measurement.
fn count(side: &mut Side) -> Result<u32, BenchError> {
    let once = side.go(1)?;
    Ok((LONG_ENOUGH / once).ceil().clamp(1.0, MOST) as u32)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_values() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-12);
        assert!(median(Vec::new()).is_nan());
    }
}
