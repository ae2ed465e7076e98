//! Batches, loaded in the background.
//!
//! A batch is a function of (data, seed, step) alone. Worker `w` of `n` loads the steps that are `w` modulo `n`
//! into a channel of its own, and the reader takes from the channels in turn: the number of workers changes when
//! a batch is ready, never what it holds.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use add_plugin::{Dataset, Draw, PluginError, Sample};

use crate::{BadSamples, Batch, DataError, EpochOrder, Skipped};

/// Batches that each worker prepares ahead of the reader.
const AHEAD: usize = 2;
/// Samples tried in place of one that cannot be used.
const TRIES: usize = 16;

/// Makes the batches of a run.
#[derive(Clone)]
pub struct Loader {
    dataset: Arc<dyn Dataset>,
    order: EpochOrder,
    global_batch: usize,
    part: Vec<usize>,
}

impl Loader {
    /// Batches of `batch` samples in the order of `seed`.
    ///
    /// # Errors
    /// When the data has no samples.
    ///
    /// # Panics
    /// When `batch` is zero.
    pub fn new(dataset: Arc<dyn Dataset>, seed: u64, batch: usize) -> Result<Self, DataError> {
        assert!(batch > 0, "a batch holds samples");
        if dataset.is_empty() {
            return Err(DataError::Empty);
        }
        let order = EpochOrder { seed, len: dataset.len() };
        Ok(Self { dataset, order, global_batch: batch, part: (0..batch).collect() })
    }

    /// Only the positions `part` of each batch: one process's share of it.
    ///
    /// # Panics
    /// When the part is empty or outside of the batch.
    #[must_use]
    pub fn part(self, part: impl IntoIterator<Item = usize>) -> Self {
        let (part, batch): (Vec<usize>, _) = (part.into_iter().collect(), self.global_batch);
        assert!(!part.is_empty() && part.iter().all(|&position| position < batch), "{part:?} of {batch}");
        Self { part, ..self }
    }

    /// The batch of `step`, loaded on this thread. Unusable samples are replaced by the next usable ones.
    ///
    /// # Errors
    /// When many neighbouring samples cannot be used, the pictures differ in size, or what holds the data fails.
    pub fn load(&self, step: u64) -> Result<Batch, DataError> {
        let mut batch = Batch {
            step,
            size: 0,
            pixels: Vec::new(),
            captions: Vec::with_capacity(self.part.len()),
            indices: Vec::with_capacity(self.part.len()),
            skipped: Vec::new(),
        };
        for &position in &self.part {
            let global_sample = step * self.global_batch as u64 + position as u64;
            let (index, sample) = self.usable(step, global_sample, &mut batch.skipped)?;
            if batch.indices.is_empty() {
                batch.size = sample.size;
            } else if batch.size != sample.size {
                return Err(DataError::SampleSize { index, expected: batch.size, got: sample.size });
            }
            batch.pixels.extend_from_slice(&sample.pixels);
            batch.captions.push(sample.caption);
            batch.indices.push(index);
        }
        Ok(batch)
    }

    fn usable(
        &self,
        step: u64,
        index: u64,
        skipped: &mut Vec<Skipped>,
    ) -> Result<(usize, Sample), DataError> {
        let draw = Draw { seed: self.order.seed, step, index };
        let first = self.order.index(index);
        let mut at = first;
        let tries = TRIES.min(self.order.len);
        for tried in 1..=tries {
            match self.dataset.get(at, &draw) {
                Ok(sample) => return Ok((at, sample)),
                Err(problem) if tried == tries => {
                    return Err(DataError::NoneUsable { index: first, tried: tries - 1, problem });
                }
                Err(PluginError::Sample { index, file, problem: reason }) => {
                    skipped.push(Skipped { index, file, reason });
                }
                // Another day it would be there, and the order of the data another one.
                Err(problem) => return Err(DataError::Source(problem)),
            }
            at = (at + 1) % self.order.len;
        }
        unreachable!("the last try returns")
    }

    /// The batches from `first_step` on, loaded by `workers` threads (at least one).
    pub fn stream(&self, first_step: u64, workers: usize) -> Batches {
        let stride = workers.max(1) as u64;
        let (channels, workers) = (0..stride)
            .map(|worker| {
                let (send, receive) = sync_channel(AHEAD);
                let loader = self.clone();
                let start = first_step + worker;
                (receive, thread::spawn(move || loader.work(start, stride, &send)))
            })
            .unzip();
        Batches { channels, workers, served: 0, bad: BadSamples::of(self.order.len) }
    }

    /// Sends every `stride`-th batch until nobody wants them any more, or one fails: that ends the run.
    fn work(&self, start: u64, stride: u64, send: &SyncSender<Result<Batch, DataError>>) {
        for step in (start..).step_by(stride as usize) {
            let batch = self.load(step);
            let failed = batch.is_err();
            if send.send(batch).is_err() || failed {
                return;
            }
        }
    }
}

/// The endless batches of a run; ends its threads when dropped.
pub struct Batches {
    channels: Vec<Receiver<Result<Batch, DataError>>>,
    workers: Vec<JoinHandle<()>>,
    served: usize,
    bad: BadSamples,
}

impl Batches {
    /// The samples that could not be used so far.
    pub fn bad_samples(&self) -> &BadSamples {
        &self.bad
    }

    /// The next batch, its unusable samples not counted.
    fn receive(&mut self) -> Option<Result<Batch, DataError>> {
        let channel = &self.channels[self.served % self.channels.len()];
        self.served += 1;
        // A worker ends before its reader after an error that it has sent, or by a panic in a data set.
        channel.recv().ok()
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.receive()?;
        Some(batch.and_then(|batch| self.bad.count(&batch.skipped).map(|()| batch)))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.channels.clear();
        for worker in self.workers.drain(..) {
            // Its panic was reported when it happened.
            let _ = worker.join();
        }
    }
}

/// The batches of a run, asked for by step.
///
/// With workers the batches after the asked one are prepared at the same time; the numbers are those without.
pub struct Feed {
    loader: Loader,
    workers: usize,
    /// The batches from `next` on, once there are workers at it.
    ahead: Option<Batches>,
    next: u64,
    bad: BadSamples,
}

impl Feed {
    /// Batches of `loader`, prepared by `workers` threads; with 0, each when it is asked for.
    pub fn new(loader: Loader, workers: usize) -> Self {
        let bad = BadSamples::of(loader.order.len);
        Self { loader, workers, ahead: None, next: 0, bad }
    }

    /// The batch of `step`.
    ///
    /// # Errors
    /// As [`Loader::load`], and when more than 1% of the data was found unusable.
    pub fn batch(&mut self, step: u64) -> Result<Batch, DataError> {
        let batch = if self.workers == 0 {
            self.loader.load(step)?
        } else {
            if self.next != step {
                self.ahead = None;
            }
            let ahead = self.ahead.get_or_insert_with(|| self.loader.stream(step, self.workers));
            self.next = step + 1;
            ahead.receive().ok_or(DataError::Worker)??
        };
        self.bad.count(&batch.skipped)?;
        Ok(batch)
    }

    /// The samples that could not be used so far.
    pub fn bad_samples(&self) -> &BadSamples {
        &self.bad
    }
}

#[cfg(test)]
mod tests {
    use add_plugin::Purpose;

    use super::*;

    /// Pictures of one pixel whose red value is their index; every `bad_every`-th cannot be read.
    struct Numbers {
        len: usize,
        bad_every: usize,
    }

    impl Dataset for Numbers {
        fn len(&self) -> usize {
            self.len
        }

        fn get(&self, index: usize, draw: &Draw) -> Result<Sample, PluginError> {
            if index % self.bad_every == self.bad_every - 1 {
                return Err(bad(index));
            }
            let caption = format!("{index} {}", draw.below(Purpose::Sample, 1000));
            Ok(Sample { pixels: vec![index as f32, 0.0, 0.0], size: 1, caption })
        }

        fn caption(&self, index: usize) -> String {
            index.to_string()
        }
    }

    fn bad(index: usize) -> PluginError {
        PluginError::Sample { index, file: format!("{index}.png"), problem: "truncated".into() }
    }

    fn loader(len: usize, bad_every: usize, batch: usize) -> Loader {
        Loader::new(Arc::new(Numbers { len, bad_every }), 5, batch).expect("not empty")
    }

    #[test]
    fn the_number_of_workers_changes_nothing() {
        let loader = loader(1000, 500, 7);
        let alone: Vec<_> = (30..60).map(|step| loader.load(step).expect("usable")).collect();
        for workers in [0, 1, 2, 5] {
            let streamed: Vec<_> = loader.stream(30, workers).take(30).map(|b| b.expect("usable")).collect();
            assert_eq!(streamed, alone, "{workers} workers");
        }
    }

    #[test]
    fn an_epoch_of_batches_holds_every_sample_once() {
        let loader = loader(30, usize::MAX, 5);
        let mut seen: Vec<_> = (0..6).flat_map(|step| loader.load(step).expect("usable").indices).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn the_parts_of_a_batch_make_the_whole() {
        let whole = loader(100, usize::MAX, 6).load(3).expect("usable");
        let [a, b] = [0..2, 2..6].map(|part| loader(100, usize::MAX, 6).part(part).load(3).expect("usable"));
        assert_eq!([a.captions, b.captions].concat(), whole.captions);
        assert_eq!([a.pixels, b.pixels].concat(), whole.pixels);
    }

    #[test]
    fn an_unusable_sample_is_replaced_and_counted() {
        let mut batches = loader(1000, 500, 10).stream(0, 2);
        let indices: Vec<_> = batches.by_ref().take(100).flat_map(|b| b.expect("0.2%").indices).collect();
        assert!(!indices.contains(&499) && !indices.contains(&999));
        assert_eq!(indices.iter().filter(|&&i| i == 500).count(), 2, "itself and in place of 499");
        assert_eq!(batches.bad_samples().by_reason().collect::<Vec<_>>(), [("truncated", 2)]);
    }

    #[test]
    fn more_than_one_percent_unusable_ends_the_run() {
        let error = loader(100, 20, 10).stream(0, 2).find_map(Result::err).expect("5% are bad");
        assert_eq!(
            error.to_string(),
            "2 of 100 samples cannot be used, more than 1%; by reason: truncated (2)"
        );
    }

    #[test]
    fn data_without_usable_samples_is_an_error() {
        assert!(matches!(loader(3, 1, 1).load(0), Err(DataError::NoneUsable { tried: 2, .. })));
        assert!(matches!(
            Loader::new(Arc::new(Numbers { len: 0, bad_every: 1 }), 0, 1),
            Err(DataError::Empty)
        ));
    }

    #[test]
    fn a_feed_gives_the_loaders_batches_and_counts_what_it_skips() {
        let loader = loader(1000, 500, 7);
        let alone: Vec<_> = (5..200).map(|step| loader.load(step).expect("usable")).collect();
        for workers in [0, 1, 4] {
            let mut feed = Feed::new(loader.clone(), workers);
            let fed: Vec<_> = (5..200).map(|step| feed.batch(step).expect("0.2%")).collect();
            assert_eq!(fed, alone, "{workers} workers");
            assert_eq!(feed.bad_samples().by_reason().collect::<Vec<_>>(), [("truncated", 2)]);
            // Back to an earlier step, as a resumed run is.
            assert_eq!(feed.batch(5).expect("usable"), alone[0]);
        }
    }

    #[test]
    fn a_feed_ends_the_run_above_one_percent() {
        for workers in [0, 2] {
            let mut feed = Feed::new(loader(100, 20, 10), workers);
            let error = (0..10).find_map(|step| feed.batch(step).err()).expect("5% are bad").to_string();
            assert!(error.starts_with("2 of 100 samples cannot be used"), "{error}");
        }
    }

    /// Data whose store fails at one index.
    struct Broken;

    impl Dataset for Broken {
        fn len(&self) -> usize {
            10
        }

        fn get(&self, index: usize, draw: &Draw) -> Result<Sample, PluginError> {
            if index == 7 {
                return Err(PluginError::Store("503".into()));
            }
            Numbers { len: 10, bad_every: usize::MAX }.get(index, draw)
        }

        fn caption(&self, index: usize) -> String {
            index.to_string()
        }
    }

    #[test]
    fn a_store_that_fails_ends_the_run_and_skips_nothing() {
        let loader = Loader::new(Arc::new(Broken), 5, 10).expect("not empty");
        assert_eq!(loader.load(0).expect_err("503").to_string(), "503");
    }
}
