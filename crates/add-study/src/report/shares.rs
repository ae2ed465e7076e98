//! Shares of the votes: of each pair of models, and of each voter.

use std::collections::BTreeMap;

use add_eval::{Outcome, wilson};
use serde::Serialize;

use super::Ballot;
use crate::{Ballots, Choice, Study};

/// How two models compare.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairRow {
    /// The first model's name.
    pub first: String,
    /// The second model's name.
    pub second: String,
    /// Which represents the prompt better.
    pub prompt: Share,
    /// Which is of higher quality.
    pub quality: Share,
}

/// How often the first of two models was preferred.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// Votes for the first.
    pub wins: u64,
    /// Votes without a preference.
    pub ties: u64,
    /// Votes for the second.
    pub losses: u64,
    /// The fraction for the first, a tie counting half; none without votes.
    pub share: Option<f64>,
    /// Lower end of its 95% interval.
    pub low: f64,
    /// Upper end of its 95% interval.
    pub high: f64,
}

/// What a voter did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VoterRow {
    /// What the voter wants to be called, or the id's beginning.
    pub voter: String,
    /// Votes that stand.
    pub votes: usize,
    /// The fraction of answers without a preference, both questions together.
    pub no_preference: f64,
    /// The fraction of the other answers that were for the left picture.
    pub left: Option<f64>,
}

impl Share {
    fn of(outcomes: impl Iterator<Item = Outcome>) -> Self {
        let [mut wins, mut ties, mut losses] = [0; 3];
        for outcome in outcomes {
            match outcome {
                Outcome::First => wins += 1,
                Outcome::Tie => ties += 1,
                Outcome::Second => losses += 1,
            }
        }
        let n = wins + ties + losses;
        let score = wins as f64 + ties as f64 / 2.0;
        let [low, high] = wilson(score, n);
        Self { wins, ties, losses, share: (n > 0).then(|| score / n as f64), low, high }
    }

    /// All votes.
    pub fn n(&self) -> u64 {
        self.wins + self.ties + self.losses
    }
}

/// Every two models.
pub(super) fn pairs(study: &Study, votes: &[(&str, Ballot)]) -> Vec<PairRow> {
    let mut by_pair: BTreeMap<(usize, usize), Vec<Ballot>> = BTreeMap::new();
    for (_, ballot) in votes {
        by_pair.entry(ballot.pair).or_default().push(*ballot);
    }
    let row = |pair: (usize, usize)| {
        let of = by_pair.get(&pair).map_or(&[][..], Vec::as_slice);
        PairRow {
            first: study.models[pair.0].name.clone(),
            second: study.models[pair.1].name.clone(),
            prompt: Share::of(of.iter().map(|ballot| ballot.prompt)),
            quality: Share::of(of.iter().map(|ballot| ballot.quality)),
        }
    };
    study.pairs().into_iter().map(row).collect()
}

/// Every voter, most votes first.
pub(super) fn voters(ballots: &Ballots) -> Vec<VoterRow> {
    let mut by_voter: BTreeMap<&str, (Option<&str>, Vec<Choice>)> = BTreeMap::new();
    for vote in ballots.standing() {
        let (name, choices) = by_voter.entry(&vote.voter).or_default();
        // The last name that was given counts.
        *name = vote.name.as_deref().or(*name);
        choices.extend([vote.prompt, vote.quality]);
    }
    let row = |(id, (name, choices)): (&str, (Option<&str>, Vec<Choice>))| {
        let (left, right, none) = sides(&choices);
        VoterRow {
            voter: name.map_or_else(|| id.chars().take(8).collect(), str::to_owned),
            votes: choices.len() / 2,
            no_preference: none as f64 / choices.len() as f64,
            left: (left + right > 0).then(|| left as f64 / (left + right) as f64),
        }
    };
    let mut rows: Vec<VoterRow> = by_voter.into_iter().map(row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.votes));
    rows
}

/// Answers for the left, for the right and for neither.
pub(super) fn sides(choices: &[Choice]) -> (u64, u64, u64) {
    let count = |of: Choice| choices.iter().filter(|choice| **choice == of).count() as u64;
    (count(Choice::Left), count(Choice::Right), count(Choice::None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        folder::tests::study,
        vote::{Line, tests::vote},
    };

    #[test]
    fn shares_are_counted_by_hand() {
        let (study, mut ballots) = (study(2, 10), Ballots::default());
        // 7 for the first model, 2 for the second, 1 tie on the prompt; ties alone on quality. Every other one is turned.
        for id in 0..10 {
            let sides = if id % 2 == 0 { (0, 1) } else { (1, 0) };
            let first = if id % 2 == 0 { Choice::Left } else { Choice::Right };
            let second = if id % 2 == 0 { Choice::Right } else { Choice::Left };
            let prompt = [first, second, Choice::None][[0, 0, 0, 0, 0, 0, 0, 1, 1, 2][id]];
            let cast = crate::Vote { prompt, quality: Choice::None, ..vote(id, "voter-aa", id, sides) };
            ballots.take(&study, &Line::Vote(cast));
        }
        let votes: Vec<(&str, Ballot)> = ballots
            .standing()
            .map(|vote| {
                let [prompt, quality] = [vote.prompt, vote.quality].map(|c| vote.outcome(&study, c));
                ("voter-aa", Ballot { pair: (0, 1), prompt, quality })
            })
            .collect();
        let row = &pairs(&study, &votes)[0];
        assert_eq!((row.prompt.wins, row.prompt.ties, row.prompt.losses), (7, 1, 2));
        assert_eq!((row.prompt.share, row.quality.share), (Some(0.75), Some(0.5)));
        assert!(row.prompt.low < 0.75 && 0.75 < row.prompt.high && row.quality.n() == 10);
        let voter = &voters(&ballots)[0];
        assert_eq!((voter.voter.as_str(), voter.votes, voter.no_preference), ("voter-aa", 10, 11.0 / 20.0));
    }
}
