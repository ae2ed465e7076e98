//! What the server counts, in the text format of Prometheus.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Upper ends of the buckets of times, in milliseconds.
const TIMES: [f64; 12] = [1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0, 5000.0, 30_000.0, 120_000.0];
/// Upper ends of the buckets of batch sizes.
const SIZES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Counters and histograms.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Answers by route and status.
    answers: Mutex<BTreeMap<(String, u16), u64>>,
    cancelled: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    pictures: AtomicU64,
    batches: Histogram<{ SIZES.len() }>,
    computed: Histogram<{ TIMES.len() }>,
    waited: Histogram<{ TIMES.len() }>,
    answered: Histogram<{ TIMES.len() }>,
    pub(crate) connections: AtomicU64,
    pub(crate) sockets: AtomicU64,
}

impl Metrics {
    /// A request on a route was answered.
    pub(crate) fn answered(&self, route: &str, status: u16, ms: f64) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry((route.to_owned(), status)).or_default() += 1;
        drop(answers);
        self.answered.add(&TIMES, ms);
    }

    /// Orders that nobody waited for any more.
    pub(crate) fn cancelled(&self, orders: usize) {
        self.cancelled.fetch_add(orders as u64, Ordering::Relaxed);
    }

    /// A batch that could not be computed.
    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A request that the server would not look at.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Pictures that were computed together.
    pub(crate) fn computed(&self, pictures: usize, ms: f64) {
        self.pictures.fetch_add(pictures as u64, Ordering::Relaxed);
        self.batches.add(&SIZES, pictures as f64);
        self.computed.add(&TIMES, ms);
    }

    /// How long an order waited.
    pub(crate) fn waited(&self, ms: f64) {
        self.waited.add(&TIMES, ms);
    }

    /// All of it, with how many orders wait now.
    pub(crate) fn text(&self, waiting: usize) -> String {
        let mut text = String::new();
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        head(&mut text, "add_requests_total", "counter", "Answers by route and status.");
        for ((route, status), count) in &*answers {
            let _ = writeln!(text, "add_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}");
        }
        drop(answers);
        for (name, kind, help, value) in [
            (
                "add_pictures_total",
                "counter",
                "Pictures that were made.",
                self.pictures.load(Ordering::Relaxed),
            ),
            (
                "add_cancelled_total",
                "counter",
                "Requests that nobody waited for any more.",
                self.cancelled.load(Ordering::Relaxed),
            ),
            (
                "add_errors_total",
                "counter",
                "Batches that could not be computed.",
                self.failed.load(Ordering::Relaxed),
            ),
            (
                "add_refused_total",
                "counter",
                "Requests refused for their host, origin or token.",
                self.refused.load(Ordering::Relaxed),
            ),
            ("add_queue_length", "gauge", "Requests that wait for a device.", waiting as u64),
            ("add_connections", "gauge", "Open connections.", self.connections.load(Ordering::Relaxed)),
            ("add_websockets", "gauge", "Open WebSockets.", self.sockets.load(Ordering::Relaxed)),
        ] {
            head(&mut text, name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
        self.batches.write(&mut text, "add_batch_size", "Pictures computed together.", &SIZES);
        self.computed.write(&mut text, "add_compute_milliseconds", "Time of a batch.", &TIMES);
        self.waited.write(&mut text, "add_queue_milliseconds", "Time that a request waited.", &TIMES);
        self.answered.write(&mut text, "add_request_milliseconds", "Time of an answer.", &TIMES);
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Counts by upper end; the last bucket has none.
#[derive(Debug)]
struct Histogram<const N: usize> {
    counts: [AtomicU64; N],
    all: AtomicU64,
    /// In thousandths.
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            all: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }
}

impl<const N: usize> Histogram<N> {
    fn add(&self, ends: &[f64; N], value: f64) {
        if let Some(bucket) = ends.iter().position(|end| value <= *end) {
            self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.all.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * 1e3) as u64, Ordering::Relaxed);
    }

    fn write(&self, text: &mut String, name: &str, help: &str, ends: &[f64; N]) {
        head(text, name, "histogram", help);
        let mut below = 0;
        for (end, count) in ends.iter().zip(&self.counts) {
            below += count.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}_bucket{{le=\"{end}\"}} {below}");
        }
        let (all, sum) = (self.all.load(Ordering::Relaxed), self.sum.load(Ordering::Relaxed) as f64 / 1e3);
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {all}\n{name}_sum {sum}\n{name}_count {all}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_count_up_to_each_end() {
        let metrics = Metrics::default();
        for size in [1, 3, 32, 100] {
            metrics.computed(size, 4.0);
        }
        metrics.answered("/api/models", 200, 0.5);
        let text = metrics.text(3);
        for line in [
            "add_batch_size_bucket{le=\"1\"} 1",
            "add_batch_size_bucket{le=\"4\"} 2",
            "add_batch_size_bucket{le=\"64\"} 3",
            "add_batch_size_bucket{le=\"+Inf\"} 4",
            "add_batch_size_sum 136",
            "add_compute_milliseconds_bucket{le=\"5\"} 4",
            "add_requests_total{route=\"/api/models\",status=\"200\"} 1",
            "add_queue_length 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
