//! Ratings of every model: Elo as the paper has it, and Bradley-Terry strengths with their intervals.

use std::collections::BTreeMap;

use add_eval::{EloConfig, Tally, elo_ratings};
use add_random::{SplitMix64, output};
use rayon::prelude::*;
use serde::Serialize;

use super::{Ballot, EvalError};
use crate::Study;

/// Strength of the prior that keeps a model which won or lost everything finite; beside dozens of votes it is nothing.
const ALPHA: f64 = 0.1;
/// Draws of the bootstrap.
const DRAWS: usize = 1000;
/// From so many voters on, voters are drawn again; votes of one person are alike, so drawing votes makes intervals too small.
pub(super) const ENOUGH_VOTERS: usize = 10;

/// A model's ratings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelRow {
    /// Its name.
    pub name: String,
    /// Seconds from a caption to its picture, if known.
    pub latency: Option<f64>,
    /// Elo ratings with K = 1 from 1000, the mean over 1000 random orders of the votes.
    pub elo: Both<f64>,
    /// Bradley-Terry strengths on Elo's scale, 400 points for odds of 10, with a mean of 1000.
    pub strength: Both<Estimate>,
}

/// A figure for each question and the mean of the two.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Both<T> {
    /// Which represents the prompt better.
    pub prompt: T,
    /// Which is of higher quality.
    pub quality: T,
    /// The mean of both.
    pub mean: T,
}

/// A figure with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What a bootstrap draws again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampled {
    /// People with all their votes.
    Voters,
    /// Single votes.
    Votes,
}

/// Rates the models of a study by its votes.
pub(super) fn rate(study: &Study, votes: &[(&str, Ballot)]) -> Result<(Vec<ModelRow>, Resampled), EvalError> {
    let models = study.models.len();
    let config = EloConfig { seed: study.seed, ..EloConfig::default() };
    let elo = |question: usize| {
        let votes: Vec<add_eval::Vote> = votes.iter().map(|(_, ballot)| ballot.votes()[question]).collect();
        elo_ratings(models, &votes, &config)
    };
    let elo = [elo(0)?, elo(1)?];
    let (units, resampled) = units(votes);
    let whole: Vec<&[Ballot]> = units.iter().map(Vec::as_slice).collect();
    let found = strengths(models, &whole)?;
    let draws = (0..DRAWS).into_par_iter().map(|draw| {
        let mut rng = SplitMix64::new(output(study.seed, draw));
        let drawn: Vec<&[Ballot]> = whole.iter().map(|_| whole[rng.below(whole.len())]).collect();
        strengths(models, &drawn)
    });
    let draws: Vec<[Vec<f64>; 3]> = draws.collect::<Result<_, _>>()?;
    let estimate = |question: usize, model: usize| {
        let mut values: Vec<f64> = draws.iter().map(|draw| draw[question][model]).collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |quantile: f64| values[((values.len() - 1) as f64 * quantile).round() as usize];
        Estimate { value: found[question][model], low: at(0.025), high: at(0.975) }
    };
    let row = |(at, model): (usize, &crate::Model)| ModelRow {
        name: model.name.clone(),
        latency: model.latency,
        elo: Both { prompt: elo[0][at], quality: elo[1][at], mean: f64::midpoint(elo[0][at], elo[1][at]) },
        strength: Both { prompt: estimate(0, at), quality: estimate(1, at), mean: estimate(2, at) },
    };
    Ok((study.models.iter().enumerate().map(row).collect(), resampled))
}

/// What is drawn again: each voter's votes together, or each vote alone.
fn units(votes: &[(&str, Ballot)]) -> (Vec<Vec<Ballot>>, Resampled) {
    let mut by_voter: BTreeMap<&str, Vec<Ballot>> = BTreeMap::new();
    for (voter, ballot) in votes {
        by_voter.entry(voter).or_default().push(*ballot);
    }
    if by_voter.len() >= ENOUGH_VOTERS {
        (by_voter.into_values().collect(), Resampled::Voters)
    } else {
        (votes.iter().map(|(_, ballot)| vec![*ballot]).collect(), Resampled::Votes)
    }
}

/// Strengths on Elo's scale by both questions and their mean, `[3][models]`.
fn strengths(models: usize, units: &[&[Ballot]]) -> Result<[Vec<f64>; 3], EvalError> {
    let mut tallies = [Tally::new(models), Tally::new(models)];
    for ballot in units.iter().copied().flatten() {
        for (tally, vote) in tallies.iter_mut().zip(ballot.votes()) {
            tally.add(&vote)?;
        }
    }
    let scale = |log: f64| 1000.0 + 400.0 / std::f64::consts::LN_10 * log;
    let [prompt, quality] =
        tallies.map(|tally| tally.strengths(ALPHA).into_iter().map(scale).collect::<Vec<f64>>());
    let mean = prompt.iter().zip(&quality).map(|(a, b)| f64::midpoint(*a, *b)).collect();
    Ok([prompt, quality, mean])
}

#[cfg(test)]
mod tests {
    use add_eval::Outcome;

    use super::*;
    use crate::folder::tests::study;

    #[test]
    fn odds_of_ten_are_four_hundred_points() {
        let study = study(2, 1);
        // Elo's K of 1 moves half a point at first; both questions have odds of 10.
        let outcome = |at: usize| if at.is_multiple_of(11) { Outcome::Second } else { Outcome::First };
        let voters: Vec<String> = (0..22).map(|i| format!("voter-{:02}", i % 2)).collect();
        let votes: Vec<(&str, Ballot)> = (0..1100)
            .map(|at| {
                let ballot = Ballot { pair: (0, 1), prompt: outcome(at), quality: outcome(at) };
                (voters[at % 22].as_str(), ballot)
            })
            .collect();
        let (models, resampled) = rate(&study, &votes).expect("votes");
        let Estimate { value, low, high } = models[0].strength.mean;
        assert_eq!(resampled, Resampled::Votes, "of two voters");
        assert!((value - 1200.0).abs() < 1.0, "{value}");
        // The standard error of the log-odds is 0.105, of half their points 9.1.
        assert!((high - low - 36.0).abs() < 5.0, "{low} to {high}");
        assert!(models[0].elo.mean > 1100.0 && models[0].elo.mean < 1200.0, "{:?}", models[0].elo);
        let again = rate(&study, &votes).expect("votes");
        assert_eq!(again.0, models, "the same votes give the same figures");
    }
}
