//! Processes, called ranks, that train one model together: each computes its parts of every batch.
//!
//! All hold the same networks. In an accumulation step every rank computes its parts; the gradients are then added in the order of the
//! parts, whoever computed them, and all ranks take the same step. So a recipe's numbers depend on its parts, and never
//! on how many ranks share them. The first rank alone writes the run folder.
//!
//! The moments of the optimisers and the running averages may be shared out among them, see [`OptimizerStates`].
//!
//! Ranks on GPUs of one machine leave the sum to these, in an order that is theirs: faster, and other ranks other bits.

mod agree;
mod gathered;
mod shards;
mod threads;

use std::{fmt, ops::Range};

use burn::tensor::Device;

pub use agree::agree;
pub(crate) use agree::{agree_on_state, from_first};
pub(crate) use gathered::Gathered;
pub(crate) use shards::Shards;
pub use shards::{OptimizerStates, balanced, kept_values};
pub use threads::Threads;

/// What ranks do together. Every rank must call the same methods in the same order.
///
/// A rank that is lost takes the others with it: none of these returns an error.
pub trait Collective: fmt::Debug {
    /// Which of the ranks this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Every rank's `bytes`, in the order of ranks.
    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>>;

    /// The `bytes` of the rank `from`, on every rank.
    fn broadcast(&self, from: usize, bytes: Vec<u8>) -> Vec<u8>;

    /// `values` holds one block for each rank, all of one length; returns the blocks for this rank, in the order of the
    /// ranks that they come from.
    fn exchange(&self, values: &[f32]) -> Vec<f32>;

    /// Every rank's `values`, as many on each, one behind the other.
    fn join(&self, values: &[f32]) -> Vec<f32>;

    /// The devices of all ranks in their order, where these add up among themselves what lies on them.
    fn devices(&self) -> Option<&[Device]> {
        None
    }
}

/// One process.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        vec![bytes.to_vec()]
    }

    fn broadcast(&self, _from: usize, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    fn exchange(&self, values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }

    fn join(&self, values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }
}

/// Whether this rank is the one that writes.
pub fn is_first(ranks: &dyn Collective) -> bool {
    ranks.rank() == 0
}

/// The largest of the ranks' `byte`s.
pub fn largest(ranks: &dyn Collective, byte: u8) -> u8 {
    if ranks.size() == 1 {
        return byte;
    }
    ranks.gather(&[byte]).into_iter().flatten().max().unwrap_or(byte)
}

/// Values that are exchanged at a time: 16 MiB of them. Each rank holds a few times as many meanwhile.
pub const BUCKET: usize = 1 << 22;

/// Adds `parts` of every rank to `total`, which is the same on every rank: those of the first rank in their order, then
/// those of the second, and so on. No order is left to the library underneath.
pub(crate) fn add_in_order(ranks: &dyn Collective, total: &mut [f32], parts: &[Vec<f32>]) {
    let len = total.len();
    for start in (0..len).step_by(BUCKET) {
        let range = start..(start + BUCKET).min(len);
        add_bucket(ranks, &mut total[range.clone()], parts, range);
    }
}

fn add_bucket(ranks: &dyn Collective, total: &mut [f32], parts: &[Vec<f32>], range: Range<usize>) {
    let (size, rank) = (ranks.size(), ranks.rank());
    let block = total.len().div_ceil(size);
    let padded = |values: &[f32]| {
        let mut values = values.to_vec();
        values.resize(block * size, 0.0);
        values
    };
    // Each rank adds up one block of the values.
    let received: Vec<Vec<f32>> =
        parts.iter().map(|part| ranks.exchange(&padded(&part[range.clone()]))).collect();
    let mut mine = padded(total)[rank * block..(rank + 1) * block].to_vec();
    for from in 0..size {
        for part in &received {
            mine.iter_mut()
                .zip(&part[from * block..(from + 1) * block])
                .for_each(|(sum, value)| *sum += value);
        }
    }
    let joined = ranks.join(&mine);
    total.copy_from_slice(&joined[..total.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each of `size` ranks makes of `f`.
    fn on_each<R: Send>(size: usize, f: impl Fn(&Threads) -> R + Sync) -> Vec<R> {
        std::thread::scope(|scope| {
            let handles: Vec<_> =
                Threads::new(size).into_iter().map(|ranks| scope.spawn(|| f(&{ ranks }))).collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).collect()
        })
    }

    /// Numbers whose sum depends on its order.
    fn part(number: usize, len: usize) -> Vec<f32> {
        (0..len).map(|i| [1e8, -1e8, 1.0, 3e-3][(i + number) % 4]).collect()
    }

    fn serial(parts: usize, len: usize) -> Vec<f32> {
        let mut total = vec![-0.0; len];
        for number in 0..parts {
            total.iter_mut().zip(part(number, len)).for_each(|(sum, value)| *sum += value);
        }
        total
    }

    #[test]
    fn the_sum_is_that_of_the_parts_in_their_order() {
        for (size, each, len) in [(1, 3, 5), (2, 1, 7), (3, 2, 10), (4, 1, 2)] {
            let sums = on_each(size, |ranks| {
                let parts: Vec<_> = (0..each).map(|i| part(ranks.rank() * each + i, len)).collect();
                let mut total = vec![-0.0; len];
                add_in_order(ranks, &mut total, &parts);
                total.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            });
            let expected: Vec<u32> = serial(size * each, len).into_iter().map(f32::to_bits).collect();
            assert!(sums.iter().all(|sum| *sum == expected), "{size} ranks with {each} parts");
        }
    }

    #[test]
    fn the_order_matters_for_these_numbers() {
        let backwards = (0..3).rev().fold(vec![-0.0; 8], |mut total: Vec<f32>, number| {
            total.iter_mut().zip(part(number, 8)).for_each(|(sum, value)| *sum += value);
            total
        });
        assert_ne!(backwards, serial(3, 8));
    }

    #[test]
    fn one_rank_that_stops_stops_all() {
        assert_eq!(on_each(3, |ranks| largest(ranks, [0, 15, 2][ranks.rank()])), [15; 3]);
    }
}
