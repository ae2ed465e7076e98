//! Which comparisons a voter sees, in which order and on which sides: all of it follows from the study's seed and the voter's id,
//! so that nothing need be kept for a voter who comes back.

use add_random::{SplitMix64, mix};

use crate::Study;

/// A comparison as one voter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Task {
    /// Its number in the study: the caption's times that of pairs, plus the pair's.
    pub(crate) number: usize,
    /// Index of its caption.
    pub(crate) caption: usize,
    /// Index of the model on the left.
    pub(crate) left: usize,
    /// Index of the model on the right.
    pub(crate) right: usize,
}

/// The first `most` comparisons of a voter.
pub(crate) fn tasks(study: &Study, voter: &str, most: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..study.comparisons()).collect();
    let take = most.min(numbers.len());
    SplitMix64::new(key(study, voter)).choose(&mut numbers, take);
    numbers.truncate(take);
    numbers
}

/// A comparison with its sides for a voter; `None` where the study has no such number.
pub(crate) fn task(study: &Study, voter: &str, number: usize) -> Option<Task> {
    let pairs = study.pairs();
    let caption = number / pairs.len();
    if caption >= study.captions.len() {
        return None;
    }
    let (first, second) = pairs[number % pairs.len()];
    let turned = mix(key(study, voter) ^ mix(number as u64 + 1)) & 1 == 1;
    let (left, right) = if turned { (second, first) } else { (first, second) };
    Some(Task { number, caption, left, right })
}

/// What a voter's draws begin with.
fn key(study: &Study, voter: &str) -> u64 {
    voter.bytes().fold(mix(study.seed), |key, byte| mix(key ^ u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::tests::study;

    #[test]
    fn every_comparison_comes_once_and_each_voter_has_an_order_of_their_own() {
        let study = study(4, 50);
        let all = tasks(&study, "anna", usize::MAX);
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..300).collect::<Vec<_>>());
        assert_eq!(tasks(&study, "anna", 20), all[..20]);
        assert_ne!(tasks(&study, "bert", 20), all[..20]);
        assert!(task(&study, "anna", 300).is_none());
    }

    #[test]
    fn sides_are_even_and_stay() {
        let study = study(2, 1000);
        let turned =
            (0..1000).filter(|&number| task(&study, "anna", number).expect("there").left == 1).count();
        // Standard deviation 16.
        assert!((420..580).contains(&turned), "{turned}");
        assert_eq!(task(&study, "anna", 77), task(&study, "anna", 77));
        let other = (0..1000).filter(|&n| task(&study, "anna", n) != task(&study, "bert", n)).count();
        assert!((420..580).contains(&other), "{other}");
    }
}
