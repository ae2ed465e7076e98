//! What the parts of a batch give, added up in their order, on whatever rank they were computed.

use std::collections::BTreeMap;

use burn::tensor::{
    Device, Tensor, TensorData,
    distributed::{ReduceOperation, all_reduce},
};

use crate::{
    gradients::GradientMap,
    ranks::{BUCKET, Collective, add_in_order},
    report::StepReport,
};

/// Gradients and figures on their way to those of the whole batch.
pub struct Sum<'s> {
    ranks: &'s dyn Collective,
    /// Parts of an accumulation step; the ranks meet when all of them are there.
    parts: usize,
    device: Device,
    waiting: Vec<(StepReport, GradientMap)>,
    reports: Vec<StepReport>,
    gradients: GradientMap,
}

impl<'s> Sum<'s> {
    /// An empty sum.
    pub fn new(ranks: &'s dyn Collective, parts: usize, device: Device) -> Self {
        let (waiting, reports) = (Vec::new(), Vec::new());
        Self { ranks, parts, device, waiting, reports, gradients: GradientMap::new() }
    }

    /// The next part of this rank.
    pub fn add(&mut self, report: StepReport, gradients: GradientMap) {
        if self.ranks.size() == 1 {
            self.reports.push(report);
            add(&mut self.gradients, gradients);
            return;
        }
        self.waiting.push((report, gradients));
        if self.waiting.len() == self.parts {
            let (reports, gradients): (Vec<_>, Vec<_>) = self.waiting.drain(..).unzip();
            self.reports.extend(of_all_ranks(self.ranks, &reports));
            add_of_all_ranks(self.ranks, &mut self.gradients, gradients, &self.device);
        }
    }

    /// The parts' reports in their order, and the sum of their gradients.
    pub fn finish(self) -> (Vec<StepReport>, GradientMap) {
        debug_assert!(self.waiting.is_empty(), "every accumulation step has all its parts");
        (self.reports, self.gradients)
    }
}

/// Adds a part's gradients to those of the parts before it.
fn add(total: &mut GradientMap, part: GradientMap) {
    for (name, gradient) in part {
        let sum = match total.remove(&name) {
            Some(before) => before + gradient,
            None => gradient,
        };
        total.insert(name, sum);
    }
}

/// The reports of one accumulation step, those of the first rank first.
fn of_all_ranks(ranks: &dyn Collective, reports: &[StepReport]) -> Vec<StepReport> {
    let bytes: Vec<u8> = reports.iter().flat_map(StepReport::values).flat_map(f64::to_ne_bytes).collect();
    let number = |bytes: &[u8]| f64::from_ne_bytes(bytes.try_into().expect("chunks of eight bytes"));
    let from_rank = |bytes: Vec<u8>| {
        let mut values = bytes.chunks_exact(8).map(number);
        reports.iter().map(|like| like.with_values(&mut values)).collect::<Vec<_>>()
    };
    ranks.gather(&bytes).into_iter().flat_map(from_rank).collect()
}

/// Adds the gradients of one accumulation step, `parts` of which are this rank's.
fn add_of_all_ranks(
    ranks: &dyn Collective,
    total: &mut GradientMap,
    mut parts: Vec<GradientMap>,
    device: &Device,
) {
    let lengths = lengths_of_all_ranks(ranks, total, &parts);
    if let Some(devices) = ranks.devices() {
        let mut own = GradientMap::new();
        for part in parts {
            add(&mut own, part);
        }
        return add(total, summed_on(devices, own, &lengths, device));
    }
    // Some of the gradients at a time: all of them once more would be as much as the network.
    for some in buckets(&lengths) {
        let mut sum = flat(total, some);
        let parts: Vec<Vec<f32>> = parts.iter_mut().map(|part| flat(part, some)).collect();
        add_in_order(ranks, &mut sum, &parts);
        let mut rest = sum.as_slice();
        for (name, length) in some {
            let (values, behind) = rest.split_at(*length);
            rest = behind;
            let data = TensorData::new(values.to_vec(), [*length]);
            total.insert(name.clone(), Tensor::from_data(data, device));
        }
    }
}

/// Consecutive gradients, about [`BUCKET`] values at a time.
fn buckets(lengths: &[(String, usize)]) -> impl Iterator<Item = &[(String, usize)]> {
    let mut values = 0;
    lengths.chunk_by(move |(_, length), (_, next)| {
        values += length;
        let fits = values + next <= BUCKET;
        if !fits {
            values = 0;
        }
        fits
    })
}

/// The sum of `own` over all ranks, each of which is at this place with as many gradients: the devices add them up, with NCCL.
fn summed_on(
    devices: &[Device],
    mut own: GradientMap,
    lengths: &[(String, usize)],
    device: &Device,
) -> GradientMap {
    let sum = |(name, length): &(String, usize)| {
        let values = own.remove(name).unwrap_or_else(|| Tensor::zeros([*length], device));
        (name.clone(), all_reduce(values, ReduceOperation::Sum, devices.to_vec()).resolve())
    };
    lengths.iter().map(sum).collect()
}

/// Names and lengths of all gradients that any part of any rank has, in the order of the names.
fn lengths_of_all_ranks(
    ranks: &dyn Collective,
    total: &GradientMap,
    parts: &[GradientMap],
) -> Vec<(String, usize)> {
    let own = parts.iter().chain([total]).flatten().map(|(name, gradient)| (name, gradient.dims()[0]));
    let own: BTreeMap<&String, usize> = own.collect();
    let text = serde_json::to_vec(&own).expect("names and lengths are JSON");
    let read = |text: Vec<u8>| -> BTreeMap<String, usize> {
        serde_json::from_slice(&text).expect("every rank sends names and lengths")
    };
    let all: BTreeMap<String, usize> = ranks.gather(&text).into_iter().flat_map(read).collect();
    all.into_iter().collect()
}

/// Takes the values of `some` gradients out, one behind the other. One that is missing counts as `-0`, which changes no sum, not
/// even one that is `-0` itself.
fn flat(gradients: &mut GradientMap, some: &[(String, usize)]) -> Vec<f32> {
    let mut values = Vec::with_capacity(some.iter().map(|(_, length)| length).sum());
    for (name, length) in some {
        match gradients.remove(name) {
            Some(gradient) => values.extend(gradient.into_data().iter::<f32>()),
            None => values.resize(values.len() + length, -0.0),
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::{Alone, Threads};

    fn part(number: usize) -> (StepReport, GradientMap) {
        let mut report = StepReport::default();
        report.number("loss", 0.1 * number as f64);
        let mean = |value: f32| Tensor::from_floats([value], &Device::flex());
        report.heads("logits", 0.25, vec![mean(number as f32), mean(0.3)]);
        let scale = 1.0 + number as f32 / 7.0;
        let tensor = |x: [f32; 3]| Tensor::<1>::from_floats(x.map(|x| x * scale), &Device::flex());
        let mut gradients = GradientMap::from([("a".to_owned(), tensor([1e8, -0.1, 3e-7]))]);
        if number == 2 {
            gradients.insert("b".to_owned(), tensor([-0.0, 5.0, 0.25]));
        }
        (report, gradients)
    }

    /// Names, bits of the values and the figures of the sum over the parts `numbers`.
    fn summed(ranks: &dyn Collective, each: usize, numbers: &[usize]) -> Vec<(String, Vec<u64>)> {
        let mut sum = Sum::new(ranks, each, Device::flex());
        for (report, gradients) in numbers.iter().copied().map(part) {
            sum.add(report, gradients);
        }
        let (reports, gradients) = sum.finish();
        let mut whole = StepReport::default();
        whole.extend(reports);
        let bits = |x: Tensor<1>| x.into_data().iter::<f32>().map(|x| u64::from(x.to_bits())).collect();
        let mut all: Vec<_> = gradients.into_iter().map(|(name, gradient)| (name, bits(gradient))).collect();
        all.push(("report".to_owned(), whole.values().into_iter().map(f64::to_bits).collect()));
        all
    }

    #[test]
    fn gradients_are_added_about_a_bucket_at_a_time() {
        let lengths = [BUCKET / 2, BUCKET / 4, BUCKET / 2, 3 * BUCKET, 1].map(|n| (n.to_string(), n));
        let counts: Vec<usize> = buckets(&lengths).map(<[_]>::len).collect();
        assert_eq!(counts, [2, 1, 1, 1], "none is cut, and none is left out");
    }

    #[test]
    fn a_gradient_that_only_one_part_has_is_kept() {
        let names: Vec<_> = summed(&Alone, 1, &[0, 1, 2, 3]).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b", "report"]);
    }

    #[test]
    fn ranks_make_the_sum_of_one_process_to_the_bit() {
        let alone = summed(&Alone, 1, &[0, 1, 2, 3]);
        assert_ne!(alone, summed(&Alone, 1, &[3, 2, 1, 0]), "the order shows in these numbers");
        for (each, numbers) in [(1, [[0, 2], [1, 3]]), (2, [[0, 1], [2, 3]])] {
            let sums: Vec<_> = std::thread::scope(|scope| {
                let start = |(ranks, numbers): (Threads, [usize; 2])| {
                    scope.spawn(move || summed(&ranks, each, &numbers))
                };
                let handles: Vec<_> = Threads::new(2).into_iter().zip(numbers).map(start).collect();
                handles.into_iter().map(|handle| handle.join().unwrap()).collect()
            });
            assert!(sums.iter().all(|sum| *sum == alone), "{each} parts a step");
        }
    }
}
