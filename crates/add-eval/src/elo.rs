//! Elo ratings and win percentages from pairwise human votes.
//!
//! ```text
//! E_a = 1 / (1 + 10^((R_b - R_a) / 400))          expected score of a against b
//! R_a <- R_a + K (S_a - E_a)                      S_a = 1 win, 1/2 tie, 0 loss; b moves by the opposite amount
//! ```
//!
//! The result depends on the order of the votes, so the ratings are averaged over seeded random orders.
//! Source: Elo, "The rating of chessplayers", 1978; ADD section 4.2 reports such ratings for its user study.

use crate::EvalError;
use crate::rng::SplitMix64;

/// Which of the two was preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The first model.
    First,
    /// Neither of the two.
    Tie,
    /// The second model.
    Second,
}

/// One comparison of two different models, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// Index of the first model.
    pub first: usize,
    /// Index of the second model.
    pub second: usize,
    /// Which was preferred.
    pub outcome: Outcome,
}

impl Vote {
    /// Whether it compares two different ones of so many models.
    pub(crate) fn check(&self, models: usize) -> Result<(), EvalError> {
        let highest = models.saturating_sub(1);
        EvalError::need_range("model index of a vote", 0, highest, self.first.max(self.second))?;
        if self.first == self.second {
            let range = format!("a model other than {}", self.first);
            return Err(EvalError::OutOfRange { what: "second model of a vote", range, got: self.second });
        }
        Ok(())
    }
}

/// How ratings are computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EloConfig {
    /// Every model's rating before the first vote.
    pub initial: f64,
    /// Most that one vote can move a rating.
    pub k: f64,
    /// Random orders of the votes to average over.
    pub orders: usize,
    /// Seed of the orders.
    pub seed: u64,
}

impl Default for EloConfig {
    fn default() -> Self {
        Self { initial: 1000.0, k: 1.0, orders: 1000, seed: 0 }
    }
}

/// Rating of each of `models` models, `[models]`; their mean stays `config.initial`.
///
/// # Errors
/// When a vote names a model that is not there or compares one with itself, or there are no orders.
pub fn elo_ratings(models: usize, votes: &[Vote], config: &EloConfig) -> Result<Vec<f64>, EvalError> {
    EvalError::need_range("number of orders", 1, usize::MAX, config.orders)?;
    votes.iter().try_for_each(|vote| vote.check(models))?;
    let mut rng = SplitMix64::new(config.seed);
    let mut order = votes.to_vec();
    let mut mean = vec![0.0; models];
    for _ in 0..config.orders {
        rng.choose(&mut order, votes.len());
        let mut ratings = vec![config.initial; models];
        for vote in &order {
            let expected = 1.0 / (1.0 + 10f64.powf((ratings[vote.second] - ratings[vote.first]) / 400.0));
            let moved = config.k * (score(vote.outcome) - expected);
            ratings[vote.first] += moved;
            ratings[vote.second] -= moved;
        }
        for (sum, rating) in mean.iter_mut().zip(ratings) {
            *sum += rating / config.orders as f64;
        }
    }
    Ok(mean)
}

/// Fraction of the votes between the two that `a` won, a tie counting half; `None` without such a vote.
pub fn win_rate(votes: &[Vote], a: usize, b: usize) -> Option<f64> {
    let scores: Vec<f64> = votes
        .iter()
        .filter_map(|vote| match (vote.first, vote.second) {
            pair if pair == (a, b) => Some(score(vote.outcome)),
            pair if pair == (b, a) => Some(1.0 - score(vote.outcome)),
            _ => None,
        })
        .collect();
    (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
}

fn score(outcome: Outcome) -> f64 {
    match outcome {
        Outcome::First => 1.0,
        Outcome::Tie => 0.5,
        Outcome::Second => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;

    fn vote(first: usize, second: usize, outcome: Outcome) -> Vote {
        Vote { first, second, outcome }
    }

    #[test]
    fn two_wins_in_a_row_give_the_hand_computed_ratings() {
        let votes = [vote(0, 1, Outcome::First), vote(1, 0, Outcome::Second)];
        let config = EloConfig { k: 32.0, orders: 3, ..EloConfig::default() };
        // After the first: 1016 / 984. Then E = 1 / (1 + 10^(-32/400)), a further 32 (1 - E).
        let second = 32.0 * (1.0 - 1.0 / (1.0 + 10f64.powf(-32.0 / 400.0)));
        let got = elo_ratings(2, &votes, &config).unwrap();
        assert_close(got[0], 1016.0 + second, 1e-14);
        assert_close(got[0] + got[1], 2000.0, 1e-14);
        assert_eq!(win_rate(&votes, 0, 1), Some(1.0));
        assert_eq!(win_rate(&votes, 0, 2), None);
    }

    #[test]
    fn ratings_recover_the_odds_of_many_votes() {
        // A wins 10 of 11 against B: odds of 10 are 400 points.
        let votes: Vec<Vote> = (0..2200)
            .map(|at| vote(0, 1, if at % 11 == 0 { Outcome::Second } else { Outcome::First }))
            .collect();
        let config = EloConfig { k: 4.0, orders: 20, ..EloConfig::default() };
        let got = elo_ratings(2, &votes, &config).unwrap();
        assert!((got[0] - got[1] - 400.0).abs() < 12.0, "{got:?}");
        assert_close(win_rate(&votes, 1, 0).unwrap(), 1.0 / 11.0, 1e-12);
    }

    #[test]
    fn the_order_given_does_not_decide_and_ties_move_nobody() {
        let ties = vec![vote(0, 1, Outcome::Tie), vote(2, 0, Outcome::Tie)];
        let ratings = elo_ratings(3, &ties, &EloConfig::default()).unwrap();
        assert!(ratings.iter().all(|rating| (rating - 1000.0).abs() < 1e-9), "{ratings:?}");
        let mut votes: Vec<Vote> =
            (0..60).map(|at| vote(0, 1, [Outcome::First, Outcome::Second][at % 2])).collect();
        let mixed = elo_ratings(2, &votes, &EloConfig::default()).unwrap()[0];
        votes.sort_by_key(|vote| vote.outcome == Outcome::First);
        let sorted = elo_ratings(2, &votes, &EloConfig::default()).unwrap()[0];
        assert!((mixed - sorted).abs() < 0.1, "{mixed} {sorted}");
    }

    #[test]
    fn a_vote_for_nobody_is_refused() {
        assert!(elo_ratings(2, &[vote(0, 2, Outcome::First)], &EloConfig::default()).is_err());
        assert!(elo_ratings(2, &[vote(1, 1, Outcome::First)], &EloConfig::default()).is_err());
        assert!(elo_ratings(0, &[vote(0, 1, Outcome::First)], &EloConfig::default()).is_err());
    }
}
