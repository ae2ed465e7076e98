//! Which sample comes when: a new permutation for every epoch, computed one index at a time.
//!
//! A balanced Feistel network with cycle walking (Black and Rogaway 2002, "Ciphers with arbitrary finite
//! domains"): a bijection on `0 .. 4^k >= len` is applied until the result falls below `len`. It needs no memory
//! and no shared state, so every worker and a resumed run find the same order.

use add_plugin::{Draw, Purpose};
use add_random::mix;
use rand::RngExt as _;

/// Rounds of the Feistel network; four make it pseudo-random (Luby and Rackoff 1988), small domains gain by more.
const ROUNDS: usize = 8;

/// The order of the samples of an endless run over `len` samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochOrder {
    /// The recipe's seed.
    pub seed: u64,
    /// Number of samples.
    pub len: usize,
}

impl EpochOrder {
    /// The sample at position `global_sample` of the run. Positions `e * len .. (e + 1) * len` make epoch `e`
    /// and hold each sample exactly once.
    ///
    /// # Panics
    /// When there are no samples.
    pub fn index(&self, global_sample: u64) -> usize {
        assert!(self.len > 0, "an order needs samples");
        let len = self.len as u64;
        let (epoch, position) = (global_sample / len, global_sample % len);
        let mut rng = Draw { seed: self.seed, step: epoch, index: 0 }.rng(Purpose::Order);
        let keys: [u64; ROUNDS] = rng.random();
        // Half of the bits of a domain of 4^half >= len.
        let half = (64 - (len - 1).leading_zeros()).div_ceil(2);
        let mut at = permute(position, half, &keys);
        while at >= len {
            at = permute(at, half, &keys);
        }
        at as usize
    }

    /// The epoch that position `global_sample` belongs to.
    pub fn epoch(&self, global_sample: u64) -> u64 {
        global_sample / self.len.max(1) as u64
    }
}

/// A bijection on `0 .. 4^half`: each round XORs one half with a function of the other and swaps them.
fn permute(value: u64, half: u32, keys: &[u64; ROUNDS]) -> u64 {
    let mask = (1u64 << half) - 1;
    let (mut left, mut right) = (value >> half, value & mask);
    for key in keys {
        (left, right) = (right, left ^ (mix(right ^ key) & mask));
    }
    left << half | right
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epoch(order: EpochOrder, epoch: u64) -> Vec<usize> {
        (0..order.len as u64).map(|i| order.index(epoch * order.len as u64 + i)).collect()
    }

    proptest! {
        #[test]
        fn each_epoch_has_every_sample_once(seed: u64, len in 1usize..700, e in 0u64..1_000_000) {
            let mut seen = epoch(EpochOrder { seed, len }, e);
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let order = EpochOrder { seed: 1, len: 100 };
        assert_ne!(epoch(order, 0), epoch(order, 1));
        assert_ne!(epoch(order, 0), epoch(EpochOrder { seed: 2, len: 100 }, 0));
        assert_eq!(epoch(order, 3), epoch(order, 3));
        assert_eq!(order.epoch(199), 1);
    }

    #[test]
    fn every_sample_comes_everywhere() {
        // Over 4,000 epochs of five samples, each of the 25 (position, sample) pairs is expected 800 times;
        // the standard deviation is 25.
        let order = EpochOrder { seed: 3, len: 5 };
        let mut count = [[0u32; 5]; 5];
        for e in 0..4_000 {
            for (position, sample) in epoch(order, e).into_iter().enumerate() {
                count[position][sample] += 1;
            }
        }
        assert!(count.iter().flatten().all(|&n| n.abs_diff(800) < 125), "{count:?}");
    }

    #[test]
    fn neighbours_are_not_kept_together() {
        // In a random permutation of n, i is followed by i + 1 about once.
        let order = epoch(EpochOrder { seed: 4, len: 6306 }, 0);
        let followed = order.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
        assert!(followed < 10, "{followed}");
    }
}
