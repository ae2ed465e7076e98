//! What keeps the figures of a study from being trusted.

use add_eval::wilson;

use super::{PairRow, VoterRow, percent, ratings::ENOUGH_VOTERS, shares::sides};
use crate::{Ballots, Choice};

/// Below so many votes a share is uncertain by more than 10 points either way.
const ENOUGH_VOTES: u64 = 100;
/// Answers of one voter from which a habit can be told.
const HABIT: usize = 40;

/// Says what is too little or looks wrong.
pub(super) fn warnings(pairs: &[PairRow], voters: &[VoterRow], ballots: &Ballots) -> Vec<String> {
    let mut warnings = Vec::new();
    let few: Vec<&PairRow> = pairs.iter().filter(|pair| pair.prompt.n() < ENOUGH_VOTES).collect();
    if let Some(fewest) = few.iter().min_by_key(|pair| pair.prompt.n()) {
        let (n, first, second) = (fewest.prompt.n(), &fewest.first, &fewest.second);
        warnings.push(format!(
            "{} of {} pairs have fewer than {ENOUGH_VOTES} votes, the fewest {n} ({first} and {second}): a share of so few is \
             uncertain by more than 10 points either way.",
            few.len(),
            pairs.len()
        ));
    }
    if voters.len() < ENOUGH_VOTERS {
        warnings.push(format!(
            "{} voted: fewer than {ENOUGH_VOTERS} people say what they prefer, not what people prefer; intervals of strengths \
             draw single votes again and are too small.",
            if voters.len() == 1 { "1 person".to_owned() } else { format!("{} people", voters.len()) }
        ));
    }
    let total: usize = voters.iter().map(|voter| voter.votes).sum();
    if let Some(most) = voters.first().filter(|most| voters.len() > 1 && 2 * most.votes > total) {
        warnings.push(format!("{} cast {} of {total} votes, more than all others.", most.voter, most.votes));
    }
    let choices: Vec<Choice> = ballots.standing().flat_map(|vote| [vote.prompt, vote.quality]).collect();
    let (left, right, _) = sides(&choices);
    let [low, high] = wilson(left as f64, left + right);
    if low > 0.5 || high < 0.5 {
        let share = percent(left as f64 / (left + right) as f64);
        warnings.push(format!(
            "{share}% of the answers with a preference are for the left picture: since sides are random this favours no model, \
             but some answers were given by side."
        ));
    }
    for voter in voters.iter().filter(|voter| 2 * voter.votes >= HABIT) {
        if voter.left.is_some_and(|left| !(0.1..=0.9).contains(&left)) || voter.no_preference > 0.9 {
            let VoterRow { voter, votes, .. } = voter;
            warnings.push(format!("{voter} gave nearly always the same answer in {votes} votes."));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Vote,
        folder::tests::study,
        report::report,
        vote::{Line, tests::vote},
    };

    #[test]
    fn one_side_one_voter_and_few_votes_are_named() {
        let (study, mut ballots) = (study(2, 60), Ballots::default());
        for id in 0..60 {
            let sides = if id % 2 == 0 { (0, 1) } else { (1, 0) };
            let cast = Vote { quality: Choice::Left, ..vote(id, "voter-aa", id, sides) };
            ballots.take(&study, &Line::Vote(cast));
        }
        let warnings = report(&study, &ballots).expect("votes").warnings;
        for part in
            ["the fewest 60", "1 person voted", "100.0% of the answers", "voter-aa gave nearly always"]
        {
            assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
        }
    }
}
