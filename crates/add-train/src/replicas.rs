//! A batch in parts: replicas compute some side by side, each on threads of its own, and gradient accumulation computes more
//! of them one after the other.
//!
//! Small tensors leave a second thread little to do inside of one operation; a whole forward and backward pass of half
//! the batch keeps it busy. Each replica has copies of the networks with tapes of their own, and the parts' gradients are
//! added in the order of the parts. So the numbers depend on how many parts there are, by rounding, and never on how
//! many threads, nor on which parts are computed at the same time. In one accumulation step every replica computes one part;
//! the states of a step are freed before the next begins, so more steps take less memory.
//!
//! Several ranks share the accumulation steps: in each turn every rank computes the parts of one step, and the gradients
//! of all are added in the order of the parts before the next turn begins.

use std::{ops::Range, rc::Rc};

use burn::tensor::Device;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{
    TrainError,
    gradients::GradientMap,
    ranks::{Alone, Collective},
    report::StepReport,
    sum::Sum,
};

/// One part of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPart {
    /// Its samples, by their places in the batch of all ranks.
    pub samples: Range<usize>,
    /// Where these are in what this rank has loaded of the batch.
    pub loaded: Range<usize>,
}

/// The threads of each replica, and how many parts each computes.
#[derive(Debug)]
pub struct Replicas {
    /// Empty for a single replica, which runs where it is called.
    pools: Vec<ThreadPool>,
    /// Accumulation steps of all ranks together.
    accumulation: usize,
    ranks: Rc<dyn Collective>,
}

impl Replicas {
    /// `count` replicas that share this process's threads evenly, with at least one each, and `accumulation` steps.
    ///
    /// # Errors
    /// When the system refuses the threads.
    pub fn new(count: usize, accumulation: usize) -> Result<Self, TrainError> {
        Self::among(Rc::new(Alone), count, accumulation)
    }

    /// The same, with the accumulation steps shared by `ranks`.
    ///
    /// # Errors
    /// When the accumulation steps cannot be shared evenly, or the system refuses the threads.
    pub fn among(ranks: Rc<dyn Collective>, count: usize, accumulation: usize) -> Result<Self, TrainError> {
        let (accumulation, size) = (accumulation.max(1), ranks.size());
        if !accumulation.is_multiple_of(size) {
            return Err(TrainError::Accumulation { accumulation, ranks: size });
        }
        let each = (rayon::current_num_threads() / count.max(1)).max(1);
        let pool = |_| ThreadPoolBuilder::new().num_threads(each).build();
        let pools = if count > 1 { (0..count).map(pool).collect::<Result<_, _>>() } else { Ok(Vec::new()) };
        let pools = pools.map_err(|error| TrainError::Threads(error.to_string()))?;
        Ok(Self { pools, accumulation, ranks })
    }

    /// Number of parts of a batch: replicas times accumulation steps, on all ranks together.
    pub fn count(&self) -> usize {
        self.accumulation * self.side_by_side()
    }

    /// How many accumulation steps this rank does.
    pub fn turns(&self) -> usize {
        self.accumulation / self.ranks.size()
    }

    /// Number of samples in the batches of all ranks, where this rank's has `batch`.
    pub fn whole_batch(&self, batch: usize) -> usize {
        batch * self.ranks.size()
    }

    /// The parts' gradients and figures, to be added up in their order; sums come to `device`.
    pub fn sum(&self, device: Device) -> Sum<'_> {
        Sum::new(&*self.ranks, self.side_by_side(), device)
    }

    fn side_by_side(&self) -> usize {
        self.pools.len().max(1)
    }

    /// Which samples of a batch of `batch`, of all ranks together, are in each part of this rank: consecutive ones, and
    /// as many as in every other part.
    pub fn ranges(&self, batch: usize) -> Vec<Range<usize>> {
        let (count, each) = (self.count(), self.side_by_side());
        assert!(batch.is_multiple_of(count), "`validate` refuses a batch of {batch} in {count} parts");
        let own = |part: &usize| part / each % self.ranks.size() == self.ranks.rank();
        (0..count).filter(own).map(|i| i * batch / count..(i + 1) * batch / count).collect()
    }

    /// The parts of this rank of a batch of `batch`, of all ranks together.
    pub fn parts(&self, batch: usize) -> impl Iterator<Item = BatchPart> + use<> {
        let each = batch / self.count();
        let ranges = self.ranges(batch).into_iter();
        ranges.zip((0..).step_by(each)).map(move |(samples, at)| BatchPart { samples, loaded: at..at + each })
    }

    /// What the parts report together, and the sum of their gradients on `device`: `prepare` for each part, then `gradient` for
    /// those of an accumulation step at the same time.
    pub fn gradient<T, U: Send>(
        &self,
        device: Device,
        parts: Vec<T>,
        prepare: impl FnMut(T) -> U,
        gradient: impl Fn(U) -> (StepReport, GradientMap) + Sync,
    ) -> (StepReport, GradientMap) {
        let mut sum = self.sum(device);
        self.each(parts, prepare, gradient, |(report, gradient)| sum.add(report, gradient));
        let (reports, gradients) = sum.finish();
        let mut report = StepReport::default();
        report.extend(reports);
        (report, gradients)
    }

    /// In every accumulation step: `prepare` for each of its parts, on this thread; `body` for all of them, at the same time;
    /// and `take` for the results, on this thread again, in the order of the parts.
    pub fn each<T, U: Send, R: Send>(
        &self,
        parts: Vec<T>,
        mut prepare: impl FnMut(T) -> U,
        body: impl Fn(U) -> R + Sync,
        mut take: impl FnMut(R),
    ) {
        assert_eq!(parts.len(), self.turns() * self.side_by_side(), "one entry for each part");
        let mut parts = parts.into_iter();
        for _ in 0..self.turns() {
            let now = parts.by_ref().take(self.side_by_side()).map(&mut prepare).collect();
            self.at_once(now, &body).into_iter().for_each(&mut take);
        }
    }

    fn at_once<T: Send, R: Send>(&self, parts: Vec<T>, body: &(impl Fn(T) -> R + Sync)) -> Vec<R> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::Threads;

    fn results<T: Send, R: Send>(replicas: &Replicas, parts: Vec<T>, body: impl Fn(T) -> R + Sync) -> Vec<R> {
        let mut results = Vec::new();
        replicas.each(parts, |part| part, body, |result| results.push(result));
        results
    }

    #[test]
    fn parts_are_consecutive_and_come_back_in_order() {
        for (count, accumulation) in [(1, 1), (2, 1), (4, 1), (1, 4), (2, 2)] {
            let replicas = Replicas::new(count, accumulation).unwrap();
            let ranges = replicas.ranges(8);
            assert_eq!(ranges.len(), count * accumulation);
            assert_eq!(ranges.iter().cloned().flatten().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
            assert_eq!(results(&replicas, ranges.clone(), |range| range), ranges);
        }
    }

    #[test]
    fn each_replica_has_threads_of_its_own() {
        let replicas = Replicas::new(2, 1).unwrap();
        let each = (rayon::current_num_threads() / 2).max(1);
        assert_eq!(results(&replicas, vec![(), ()], |()| rayon::current_num_threads()), [each, each]);
    }

    #[test]
    fn an_accumulation_step_ends_before_the_next_is_prepared() {
        let replicas = Replicas::new(2, 2).unwrap();
        let (prepared, taken) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let prepare = |part| {
            prepared.set(prepared.get() + 1);
            assert!(prepared.get() - taken.get() <= 2);
            part
        };
        replicas.each(vec![0, 1, 2, 3], prepare, |part: i32| part, |_| taken.set(taken.get() + 1));
        assert_eq!(taken.get(), 4);
    }

    #[test]
    fn ranks_share_the_parts_and_none_is_left_out() {
        let ranges = |ranks: usize, replicas: usize, accumulation: usize| -> Vec<_> {
            let replicas = |ranks| Replicas::among(Rc::new(ranks), replicas, accumulation).unwrap();
            Threads::new(ranks).into_iter().map(|ranks| replicas(ranks).ranges(16)).collect()
        };
        assert_eq!(ranges(2, 1, 4), [[0..4, 8..12], [4..8, 12..16]]);
        assert_eq!(ranges(2, 2, 2), [[0..4, 4..8], [8..12, 12..16]]);
        assert_eq!(ranges(1, 2, 4).concat(), ranges(4, 2, 4).concat());
        let second = Threads::new(2).remove(1);
        let parts: Vec<_> = Replicas::among(Rc::new(second), 1, 4).unwrap().parts(16).collect();
        let part = |samples, loaded| BatchPart { samples, loaded };
        assert_eq!(parts, [part(4..8, 0..4), part(12..16, 4..8)]);
    }

    #[test]
    fn accumulation_steps_that_ranks_cannot_share_are_refused() {
        let ranks = Threads::new(2).swap_remove(0);
        let error = Replicas::among(Rc::new(ranks), 1, 3).unwrap_err().to_string();
        assert!(error.contains("`gradient_accumulation` to be a multiple of the 2 ranks, got 3"), "{error}");
    }
}
