//! Votes that stand: each comparison of a voter once, without those that were taken back.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{Study, Vote, vote::Line};

/// A voter's comparison: voter, caption and models, the smaller index first.
type Key = (String, usize, (usize, usize));

/// What has been voted so far.
#[derive(Debug, Default)]
pub struct Ballots {
    /// By place, which is the order in which they were cast.
    votes: BTreeMap<usize, Vote>,
    /// Place of a vote by its id, also of one that was taken back.
    seen: HashMap<String, usize>,
    standing: HashMap<Key, usize>,
    /// Places of the standing votes of each voter.
    by_voter: HashMap<String, Vec<usize>>,
    undone: HashSet<String>,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It changes what stands.
    Counts,
    /// It was said before.
    Known,
    /// The voter has another vote on this comparison.
    Contradicts,
    /// It takes back what is not there, or another voter's vote.
    Baseless,
}

impl Ballots {
    /// The votes that stand, in the order in which they were cast.
    pub fn standing(&self) -> impl Iterator<Item = &Vote> {
        self.votes.values()
    }

    /// The last standing vote of a voter.
    pub(crate) fn last_of(&self, voter: &str) -> Option<&Vote> {
        self.votes.get(self.by_voter.get(voter)?.last()?)
    }

    /// Whether a voter has a standing vote on a comparison.
    pub(crate) fn has(&self, voter: &str, caption: usize, pair: (usize, usize)) -> bool {
        self.standing.contains_key(&(voter.to_owned(), caption, pair))
    }

    /// What a line would do.
    pub(crate) fn judge(&self, study: &Study, line: &Line) -> Verdict {
        match line {
            Line::Vote(vote) => {
                let Some(pair) = vote.pair(study) else { return Verdict::Baseless };
                if self.seen.contains_key(&vote.vote) {
                    return Verdict::Known;
                }
                if self.has(&vote.voter, vote.caption, pair) { Verdict::Contradicts } else { Verdict::Counts }
            }
            Line::Undo(undo) => match self.seen.get(&undo.vote) {
                _ if self.undone.contains(&undo.vote) => Verdict::Known,
                Some(at) if self.votes.get(at).is_some_and(|vote| vote.voter == undo.voter) => {
                    Verdict::Counts
                }
                _ => Verdict::Baseless,
            },
        }
    }

    /// Takes a line in, if it counts.
    pub(crate) fn take(&mut self, study: &Study, line: &Line) -> Verdict {
        let verdict = self.judge(study, line);
        if verdict != Verdict::Counts {
            return verdict;
        }
        match line {
            Line::Vote(vote) => {
                let at = self.seen.len();
                let pair = vote.pair(study).unwrap_or_default();
                self.seen.insert(vote.vote.clone(), at);
                self.standing.insert((vote.voter.clone(), vote.caption, pair), at);
                self.by_voter.entry(vote.voter.clone()).or_default().push(at);
                self.votes.insert(at, vote.clone());
            }
            Line::Undo(undo) => {
                self.undone.insert(undo.vote.clone());
                let taken = self.seen.get(&undo.vote).and_then(|at| Some((*at, self.votes.remove(at)?)));
                if let Some((at, vote)) = taken {
                    let pair = vote.pair(study).unwrap_or_default();
                    self.standing.remove(&(vote.voter.clone(), vote.caption, pair));
                    self.by_voter.entry(vote.voter).or_default().retain(|other| *other != at);
                }
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        folder::tests::study,
        vote::{Undo, tests::vote},
    };

    #[test]
    fn a_vote_counts_once_and_can_be_taken_back() {
        let (study, mut ballots) = (study(3, 2), Ballots::default());
        let first = Line::Vote(vote(1, "voter-aa", 0, (0, 1)));
        assert_eq!(ballots.take(&study, &first), Verdict::Counts);
        assert_eq!(ballots.take(&study, &first), Verdict::Known);
        let turned = Line::Vote(vote(2, "voter-aa", 0, (1, 0)));
        assert_eq!(ballots.take(&study, &turned), Verdict::Contradicts);
        assert_eq!(ballots.take(&study, &Line::Vote(vote(3, "voter-bb", 0, (1, 0)))), Verdict::Counts);
        assert_eq!(ballots.standing().count(), 2);

        let undo = |id: &str, voter: &str| {
            Line::Undo(Undo { vote: id.to_owned(), time: 0, voter: voter.to_owned() })
        };
        assert_eq!(ballots.take(&study, &undo("vote-0001", "voter-bb")), Verdict::Baseless);
        assert_eq!(ballots.take(&study, &undo("vote-0009", "voter-aa")), Verdict::Baseless);
        assert_eq!(ballots.last_of("voter-aa").map(|vote| vote.vote.as_str()), Some("vote-0001"));
        assert_eq!(ballots.take(&study, &undo("vote-0001", "voter-aa")), Verdict::Counts);
        assert_eq!(ballots.take(&study, &undo("vote-0001", "voter-aa")), Verdict::Known);
        assert_eq!((ballots.last_of("voter-aa"), ballots.standing().count()), (None, 1));
        // A repetition that comes late does not bring it back, but the comparison is open again.
        assert_eq!(ballots.take(&study, &first), Verdict::Known);
        assert_eq!(ballots.take(&study, &turned), Verdict::Counts);
        assert_eq!(ballots.standing().count(), 2);
    }
}
