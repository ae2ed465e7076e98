//! A batch in parts that are computed side by side, each on threads of its own, or in rounds, one after the other.
//!
//! Small tensors leave a second thread little to do inside of one operation; a whole forward and backward pass of half
//! the batch keeps it busy. Each part has copies of the networks with tapes of their own, and the parts' gradients are
//! added in the order of the parts. So the numbers depend on how many parts there are, by rounding, and never on how
//! many threads, nor on which parts share a round. A round's states are gone before the next begins: more rounds take
//! less memory (gradient accumulation).

use std::ops::Range;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{TrainError, gradients::GradientMap};

/// The threads of each part.
#[derive(Debug)]
pub struct Shards {
    /// Empty for a single part in a round, which runs where it is called.
    pools: Vec<ThreadPool>,
    rounds: usize,
}

impl Shards {
    /// `rounds` of `count` parts each, which share this process's threads evenly, with at least one each.
    ///
    /// # Errors
    /// When the system refuses the threads.
    pub fn new(count: usize, rounds: usize) -> Result<Self, TrainError> {
        let each = (rayon::current_num_threads() / count.max(1)).max(1);
        let pool = |_| ThreadPoolBuilder::new().num_threads(each).build();
        let pools = if count > 1 { (0..count).map(pool).collect::<Result<_, _>>() } else { Ok(Vec::new()) };
        let pools = pools.map_err(|error| TrainError::Threads(error.to_string()))?;
        Ok(Self { pools, rounds: rounds.max(1) })
    }

    /// Number of parts in all rounds together.
    pub fn count(&self) -> usize {
        self.rounds * self.side_by_side()
    }

    /// How many rounds there are.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    fn side_by_side(&self) -> usize {
        self.pools.len().max(1)
    }

    /// The samples of each part: consecutive, and as many as in every other.
    pub fn ranges(&self, batch: usize) -> Vec<Range<usize>> {
        let count = self.count();
        assert!(batch.is_multiple_of(count), "`validate` refuses a batch of {batch} in {count} parts");
        (0..count).map(|i| i * batch / count..(i + 1) * batch / count).collect()
    }

    /// Round after round: `prepare` of each of its parts, here; `body` of all of them, at the same time; and `take` of the
    /// results, here again, in the order of the parts.
    pub fn each<T, U: Send, R: Send>(
        &self,
        parts: Vec<T>,
        mut prepare: impl FnMut(T) -> U,
        body: impl Fn(U) -> R + Sync,
        mut take: impl FnMut(R),
    ) {
        assert_eq!(parts.len(), self.count(), "one entry for each part");
        let mut parts = parts.into_iter();
        for _ in 0..self.rounds {
            let round = parts.by_ref().take(self.side_by_side()).map(&mut prepare).collect();
            self.round(round, &body).into_iter().for_each(&mut take);
        }
    }

    fn round<T: Send, R: Send>(&self, parts: Vec<T>, body: &(impl Fn(T) -> R + Sync)) -> Vec<R> {
        if self.pools.is_empty() {
            return parts.into_iter().map(body).collect();
        }
        std::thread::scope(|scope| {
            let handles: Vec<_> = self
                .pools
                .iter()
                .zip(parts)
                .map(|(pool, part)| scope.spawn(move || pool.install(|| body(part))))
                .collect();
            let join = |handle: std::thread::ScopedJoinHandle<'_, R>| {
                handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            handles.into_iter().map(join).collect()
        })
    }
}

/// Adds a part's gradients to those of the parts before it.
pub(crate) fn add(total: &mut GradientMap, part: GradientMap) {
    for (name, gradient) in part {
        let sum = match total.remove(&name) {
            Some(before) => before + gradient,
            None => gradient,
        };
        total.insert(name, sum);
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;

    fn results<T: Send, R: Send>(shards: &Shards, parts: Vec<T>, body: impl Fn(T) -> R + Sync) -> Vec<R> {
        let mut results = Vec::new();
        shards.each(parts, |part| part, body, |result| results.push(result));
        results
    }

    #[test]
    fn parts_are_consecutive_and_come_back_in_order() {
        for (count, rounds) in [(1, 1), (2, 1), (4, 1), (1, 4), (2, 2)] {
            let shards = Shards::new(count, rounds).unwrap();
            let ranges = shards.ranges(8);
            assert_eq!(ranges.len(), count * rounds);
            assert_eq!(ranges.iter().cloned().flatten().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
            assert_eq!(results(&shards, ranges.clone(), |range| range), ranges);
        }
    }

    #[test]
    fn each_part_has_threads_of_its_own() {
        let shards = Shards::new(2, 1).unwrap();
        let each = (rayon::current_num_threads() / 2).max(1);
        assert_eq!(results(&shards, vec![(), ()], |()| rayon::current_num_threads()), [each, each]);
    }

    #[test]
    fn a_round_ends_before_the_next_is_prepared() {
        let shards = Shards::new(2, 2).unwrap();
        let (prepared, taken) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let prepare = |part| {
            prepared.set(prepared.get() + 1);
            assert!(prepared.get() - taken.get() <= 2);
            part
        };
        shards.each(vec![0, 1, 2, 3], prepare, |part: i32| part, |_| taken.set(taken.get() + 1));
        assert_eq!(taken.get(), 4);
    }

    #[test]
    fn a_gradient_that_only_one_part_has_is_kept() {
        let tensor = |x: f32| Tensor::<1>::from_floats([x], &Device::flex());
        let part = |entries: &[(&str, f32)]| -> GradientMap {
            entries.iter().map(|(name, x)| ((*name).to_owned(), tensor(*x))).collect()
        };
        let mut total = part(&[("a", 1.0)]);
        add(&mut total, part(&[("a", 2.0), ("b", 5.0)]));
        let values: Vec<f32> = total.into_values().map(Tensor::into_scalar).collect();
        assert_eq!(values, [3.0, 5.0]);
    }
}
