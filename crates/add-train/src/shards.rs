//! A batch in parts that are computed side by side, each on threads of its own.
//!
//! Small tensors leave a second thread little to do inside of one operation; a whole forward and backward pass of half
//! the batch keeps it busy. Each part has copies of the networks with tapes of their own, and the parts' gradients are
//! added in the order of the parts. So the numbers depend on how many parts there are, by rounding, and never on how
//! many threads.

use std::ops::Range;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{TrainError, gradients::GradientMap};

/// The threads of each part.
#[derive(Debug)]
pub struct Shards {
    /// Empty for a single part, which runs where it is called.
    pools: Vec<ThreadPool>,
}

impl Shards {
    /// `count` parts that share this process's threads evenly, with at least one each.
    ///
    /// # Errors
    /// When the system refuses the threads.
    pub fn new(count: usize) -> Result<Self, TrainError> {
        let each = (rayon::current_num_threads() / count.max(1)).max(1);
        let pool = |_| ThreadPoolBuilder::new().num_threads(each).build();
        let pools = if count > 1 { (0..count).map(pool).collect::<Result<_, _>>() } else { Ok(Vec::new()) };
        Ok(Self { pools: pools.map_err(|error| TrainError::Threads(error.to_string()))? })
    }

    /// Number of parts.
    pub fn count(&self) -> usize {
        self.pools.len().max(1)
    }

    /// The samples of each part: consecutive, and as many as in every other.
    pub fn ranges(&self, batch: usize) -> Vec<Range<usize>> {
        let count = self.count();
        assert!(batch.is_multiple_of(count), "`validate` refuses a batch of {batch} in {count} parts");
        (0..count).map(|i| i * batch / count..(i + 1) * batch / count).collect()
    }

    /// `body` of every part, all at the same time; the results in the order of the parts.
    pub fn run<T: Send, R: Send>(&self, parts: Vec<T>, body: impl Fn(T) -> R + Sync) -> Vec<R> {
        assert_eq!(parts.len(), self.count(), "one entry for each part");
        if self.pools.is_empty() {
            return parts.into_iter().map(body).collect();
        }
        let body = &body;
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

/// The sum of the parts' gradients, added in their order.
pub(crate) fn sum(parts: impl IntoIterator<Item = GradientMap>) -> GradientMap {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_default();
    for part in parts {
        for (name, gradient) in part {
            let sum = match total.remove(&name) {
                Some(before) => before + gradient,
                None => gradient,
            };
            total.insert(name, sum);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;

    #[test]
    fn parts_are_consecutive_and_come_back_in_order() {
        for count in [1, 2, 4] {
            let shards = Shards::new(count).unwrap();
            let ranges = shards.ranges(8);
            assert_eq!(ranges.iter().cloned().flatten().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
            assert_eq!(shards.run(ranges.clone(), |range| range), ranges);
        }
    }

    #[test]
    fn each_part_has_threads_of_its_own() {
        let shards = Shards::new(2).unwrap();
        let each = (rayon::current_num_threads() / 2).max(1);
        assert_eq!(shards.run(vec![(), ()], |()| rayon::current_num_threads()), [each, each]);
    }

    #[test]
    fn a_gradient_that_only_one_part_has_is_kept() {
        let tensor = |x: f32| Tensor::<1>::from_floats([x], &Device::flex());
        let part = |entries: &[(&str, f32)]| -> GradientMap {
            entries.iter().map(|(name, x)| ((*name).to_owned(), tensor(*x))).collect()
        };
        let total = sum([part(&[("a", 1.0)]), part(&[("a", 2.0), ("b", 5.0)])]);
        let values: Vec<f32> = total.into_values().map(Tensor::into_scalar).collect();
        assert_eq!(values, [3.0, 5.0]);
    }
}
