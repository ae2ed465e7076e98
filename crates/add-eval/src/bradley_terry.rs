//! Strengths of models from pairwise votes, whatever the order of the votes.
//!
//! ```text
//! P(i is preferred to j) = p_i / (p_i + p_j)
//! p_i <- (w_i + alpha) / (sum_j n_ij / (p_i + p_j) + alpha)      with p scaled to a mean of 1
//! ```
//!
//! `w_i` are the votes for `i`, a tie being half a vote for either; `n_ij` the votes between `i` and `j`. A small `alpha` keeps a
//! model that won or lost everything at a finite strength. Sources: Bradley and Terry, Biometrika 1952; the minorization-maximization
//! steps: Hunter, "MM algorithms for generalized Bradley-Terry models", 2004; the prior: Caron and Doucet, 2012, as in the
//! library choix.

use crate::{EvalError, Outcome, Vote};

/// Most steps; a few dozen suffice where every model was compared with several others.
const MOST_STEPS: usize = 5000;
/// Sum of the changes of all logarithms below which the steps end.
const SETTLED: f64 = 1e-10;

/// Votes of a number of models, counted by pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    models: usize,
    /// `[models, models]`: votes for the row against the column, a tie being half a vote.
    wins: Vec<f64>,
}

impl Tally {
    /// No votes yet.
    pub fn new(models: usize) -> Self {
        Self { models, wins: vec![0.0; models * models] }
    }

    /// Counts a vote.
    ///
    /// # Errors
    /// When it names a model that is not there, or compares one with itself.
    pub fn add(&mut self, vote: &Vote) -> Result<(), EvalError> {
        vote.check(self.models)?;
        let score = match vote.outcome {
            Outcome::First => 1.0,
            Outcome::Tie => 0.5,
            Outcome::Second => 0.0,
        };
        self.wins[vote.first * self.models + vote.second] += score;
        self.wins[vote.second * self.models + vote.first] += 1.0 - score;
        Ok(())
    }

    /// Counts the votes of another tally of the same models.
    ///
    /// # Panics
    /// When the other has another number of models.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.models, other.models, "tallies of the same models");
        self.wins.iter_mut().zip(&other.wins).for_each(|(sum, more)| *sum += more);
    }

    /// The natural logarithm of each model's strength, `[models]`; they add to zero.
    pub fn strengths(&self, alpha: f64) -> Vec<f64> {
        let (n, wins) = (self.models, |i: usize, j: usize| self.wins[i * self.models + j]);
        let mut logs = vec![0.0; n];
        for _ in 0..MOST_STEPS {
            let strengths: Vec<f64> = logs.iter().map(|log: &f64| log.exp()).collect();
            // The prior is about strengths of this scale.
            let scale = n as f64 / strengths.iter().sum::<f64>();
            let strengths: Vec<f64> = strengths.into_iter().map(|strength| strength * scale).collect();
            let next = (0..n).map(|i| {
                let others = (0..n).filter(|&j| j != i);
                let (won, met) = others.fold((0.0, 0.0), |(won, met), j| {
                    let votes = wins(i, j) + wins(j, i);
                    (won + wins(i, j), met + votes / (strengths[i] + strengths[j]))
                });
                ((won + alpha) / (met + alpha)).ln()
            });
            let next: Vec<f64> = next.collect();
            let mean = next.iter().sum::<f64>() / n as f64;
            let next: Vec<f64> = next.into_iter().map(|log| log - mean).collect();
            let moved: f64 = next.iter().zip(&logs).map(|(a, b): (&f64, &f64)| (a - b).abs()).sum();
            logs = next;
            if moved < SETTLED {
                break;
            }
        }
        logs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;

    const TIMES: [[f64; 4]; 4] =
        [[0.0, 7.0, 5.0, 9.0], [3.0, 0.0, 6.0, 8.0], [4.0, 2.0, 0.0, 5.5], [1.0, 2.0, 3.5, 0.0]];

    fn tally() -> Tally {
        Tally { models: 4, wins: TIMES.concat() }
    }

    #[test]
    fn strengths_are_those_of_choix() {
        // choix 0.4.1, mm_pairwise on every vote twice, so that a tie is one win each; alpha is doubled with them.
        for (alpha, expected) in [
            (
                0.0,
                [
                    0.773_283_378_223_890_6,
                    0.370_666_275_197_782_6,
                    -0.194_372_012_032_819_62,
                    -0.949_577_641_388_853_5,
                ],
            ),
            (
                0.1,
                [
                    0.761_484_311_596_207_1,
                    0.366_972_328_948_258_15,
                    -0.189_962_751_282_331_2,
                    -0.938_493_889_262_134_2,
                ],
            ),
        ] {
            let got = tally().strengths(alpha);
            got.iter().zip(expected).for_each(|(got, expected)| assert_close(*got, expected, 1e-8));
        }
    }

    #[test]
    fn two_models_have_the_odds_of_their_votes() {
        let mut tally = Tally::new(2);
        let vote = |outcome| Vote { first: 1, second: 0, outcome };
        let (first, tie) = ([Outcome::First; 3], [Outcome::Tie; 2]);
        for outcome in first.into_iter().chain(tie).chain([Outcome::Second]) {
            tally.add(&vote(outcome)).unwrap();
        }
        // 4 against 2: odds of 2, and each strength a square root of that from the mean.
        let got = tally.strengths(0.0);
        assert_close(got[1] - got[0], 2f64.ln(), 1e-9);
        let mut twice = tally.clone();
        twice.merge(&tally);
        assert_close(twice.strengths(0.0)[1], got[1], 1e-9);
    }

    #[test]
    fn who_won_everything_stays_finite() {
        let mut tally = Tally::new(2);
        for _ in 0..10 {
            tally.add(&Vote { first: 0, second: 1, outcome: Outcome::First }).unwrap();
        }
        // choix 0.4.1 on 20 wins with alpha 0.2.
        assert_close(tally.strengths(0.1)[0], 2.307_560_258_420_629_4, 1e-8);
        assert!(tally.add(&Vote { first: 0, second: 2, outcome: Outcome::Tie }).is_err());
    }
}
