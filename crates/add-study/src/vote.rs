//! Lines of `votes.jsonl`: votes, and votes that are taken back.

use add_eval::Outcome;
use serde::{Deserialize, Serialize};

use crate::Study;

/// Longest name of a voter, in characters.
const LONGEST_NAME: usize = 80;

/// An answer to one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The picture on the left.
    Left,
    /// The picture on the right.
    Right,
    /// No preference.
    None,
}

/// A comparison of two pictures by one voter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Its id, chosen by the voter's browser: a vote that is sent twice has the same.
    pub vote: String,
    /// Seconds since 1970.
    pub time: u64,
    /// The voter's id.
    pub voter: String,
    /// What the voter wants to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Index of the caption.
    pub caption: usize,
    /// The model whose picture was on the left.
    pub left: String,
    /// The model whose picture was on the right.
    pub right: String,
    /// Which picture represents the prompt better.
    pub prompt: Choice,
    /// Which picture is of higher quality.
    pub quality: Choice,
}

/// A vote that is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Undo {
    /// The vote's id.
    pub(crate) vote: String,
    /// Seconds since 1970.
    pub(crate) time: u64,
    /// The voter's id.
    pub(crate) voter: String,
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Line {
    /// A vote.
    Vote(Vote),
    /// A vote that is taken back.
    Undo(Undo),
}

impl Vote {
    /// Whether the study has what this compares.
    pub(crate) fn check(&self, study: &Study) -> Result<(), String> {
        check_id("vote", &self.vote)?;
        check_id("voter", &self.voter)?;
        self.name.as_deref().map_or(Ok(()), check_name)?;
        if self.caption >= study.captions.len() {
            return Err(format!("caption: expected 0 to {}, got {}", study.captions.len() - 1, self.caption));
        }
        for name in [&self.left, &self.right] {
            if study.model(name).is_none() {
                return Err(format!("{name:?} is no model of the study"));
            }
        }
        if self.left == self.right {
            return Err(format!("expected two models, got {:?} twice", self.left));
        }
        Ok(())
    }

    /// The indices of its models, the smaller first.
    pub(crate) fn pair(&self, study: &Study) -> Option<(usize, usize)> {
        let (left, right) = (study.model(&self.left)?, study.model(&self.right)?);
        Some((left.min(right), left.max(right)))
    }

    /// What a choice says of its models, the one of the smaller index first.
    pub(crate) fn outcome(&self, study: &Study, choice: Choice) -> Outcome {
        let turned = study.model(&self.left) > study.model(&self.right);
        match (choice, turned) {
            (Choice::None, _) => Outcome::Tie,
            (Choice::Left, false) | (Choice::Right, true) => Outcome::First,
            (Choice::Right, false) | (Choice::Left, true) => Outcome::Second,
        }
    }
}

impl Undo {
    /// Whether it can be one.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_id("vote", &self.vote).and_then(|()| check_id("voter", &self.voter))
    }
}

/// Whether an id of a vote or voter is one.
pub(crate) fn check_id(what: &str, id: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (8..=64).contains(&id.len()) && id.bytes().all(fits) {
        return Ok(());
    }
    let shown: String = id.chars().take(LONGEST_NAME).collect();
    Err(format!("{what}: expected 8 to 64 small letters, digits and hyphens, got {shown:?}"))
}

/// Whether a voter may be called so.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let characters = name.chars().count();
    if (1..=LONGEST_NAME).contains(&characters) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(format!("name: expected 1 to {LONGEST_NAME} characters on one line, got {characters}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::folder::tests::study;

    /// A vote between two models.
    pub(crate) fn vote(id: usize, voter: &str, caption: usize, sides: (usize, usize)) -> Vote {
        Vote {
            vote: format!("vote-{id:04}"),
            time: 1_700_000_000,
            voter: voter.to_owned(),
            name: None,
            caption,
            left: format!("model {}", sides.0),
            right: format!("model {}", sides.1),
            prompt: Choice::Left,
            quality: Choice::None,
        }
    }

    #[test]
    fn the_outcome_does_not_depend_on_the_side() {
        let study = study(3, 1);
        let (plain, turned) = (vote(0, "voter-aa", 0, (0, 2)), vote(0, "voter-aa", 0, (2, 0)));
        assert_eq!(plain.pair(&study), Some((0, 2)));
        assert_eq!(turned.pair(&study), Some((0, 2)));
        assert_eq!(plain.outcome(&study, Choice::Left), Outcome::First);
        assert_eq!(turned.outcome(&study, Choice::Left), Outcome::Second);
        assert_eq!(turned.outcome(&study, Choice::Right), Outcome::First);
        assert_eq!(turned.outcome(&study, Choice::None), Outcome::Tie);
    }

    #[test]
    fn a_line_is_one_object_and_says_what_is_wrong() {
        let line = Line::Vote(vote(3, "voter-aa", 0, (0, 1)));
        let text = serde_json::to_string(&line).expect("JSON");
        assert_eq!(
            text,
            "{\"event\":\"vote\",\"vote\":\"vote-0003\",\"time\":1700000000,\"voter\":\"voter-aa\",\"caption\":0,\
             \"left\":\"model 0\",\"right\":\"model 1\",\"prompt\":\"left\",\"quality\":\"none\"}"
        );
        assert_eq!(serde_json::from_str::<Line>(&text).expect("a line"), line);
        let study = study(2, 1);
        for (change, part) in [
            ((|v| v.caption = 1) as fn(&mut Vote), "expected 0 to 0, got 1"),
            (|v| v.left = "other".into(), "\"other\" is no model"),
            (|v| v.right = v.left.clone(), "twice"),
            (|v| v.voter = "Anna!".into(), "voter: expected 8 to 64"),
            (|v| v.name = Some("a\nb".into()), "on one line"),
        ] {
            let mut vote = vote(0, "voter-aa", 0, (0, 1));
            change(&mut vote);
            let problem = vote.check(&study).expect_err(part);
            assert!(problem.contains(part), "{problem}");
        }
    }
}
