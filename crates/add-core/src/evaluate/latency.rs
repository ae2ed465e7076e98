//! How long one caption takes to become one picture, alone: what a person waits for.

use std::time::Instant;

use add_eval::Latency;

use super::subject::{Plan, Subject};

/// Makes one picture, which pays for what a model does once, and then `warm` more; `None` for no warm ones.
pub(super) fn latency(subject: &Subject<'_>, plan: &Plan<'_>, caption: &str, warm: usize) -> Option<Latency> {
    let seconds = |index: usize| {
        let began = Instant::now();
        // The pictures are on the host when this returns, so a device has finished.
        drop(subject.pictures(plan, &[caption.to_owned()], index));
        began.elapsed().as_secs_f64()
    };
    if warm == 0 {
        return None;
    }
    let first = seconds(0);
    let mut times: Vec<f64> = (1..=warm).map(seconds).collect();
    times.sort_by(f64::total_cmp);
    Some(Latency { first, median: median(&times), p95: quantile_95(&times) })
}

/// The median of numbers that are sorted.
fn median(sorted: &[f64]) -> f64 {
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

/// The smallest of sorted numbers that 95 % do not exceed.
fn quantile_95(sorted: &[f64]) -> f64 {
    sorted[(sorted.len() * 95).div_ceil(100) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles_are_those_of_the_definition() {
        let numbers: Vec<f64> = (1..=20).map(f64::from).collect();
        let check = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "got {got}, want {want}");
        check(median(&numbers), 10.5);
        check(quantile_95(&numbers), 19.0);
        check(median(&[3.0]), 3.0);
        check(quantile_95(&[3.0]), 3.0);
        check(median(&[1.0, 2.0, 9.0]), 2.0);
    }
}
