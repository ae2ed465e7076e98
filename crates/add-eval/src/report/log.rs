//! `metrics.jsonl` read into curves: one object a line, its numbers and arrays of numbers against `step`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Curves beyond this are left out; a file of a million keys must not become a page of a million charts.
const MAX_CURVES: usize = 256;
/// Larger magnitudes count as not finite: their differences would overflow the axes.
const LARGEST: f64 = 1e100;
/// Smaller magnitudes count as zero: their differences would vanish.
const SMALLEST: f64 = 1e-100;

/// Which curve: a key, and the place in its array where it holds one.
pub(super) type CurveKey = (String, Option<usize>);

/// All numbers of a run.
#[derive(Debug, Default, PartialEq)]
pub(super) struct MetricsLog {
    /// Points `(step, value)` of each curve, by rising step.
    pub(super) curves: BTreeMap<CurveKey, Vec<(f64, f64)>>,
    /// Lines that are not empty.
    pub(super) lines: usize,
    /// Lines that are no object with a step.
    pub(super) skipped: usize,
    /// Values written as `null`: not finite when they were logged.
    pub(super) not_finite: usize,
    /// Whether there were more curves than a page takes.
    pub(super) cut: bool,
    /// First and last step.
    pub(super) steps: Option<(u64, u64)>,
}

impl MetricsLog {
    /// Reads the file's bytes. Nothing in them is an error: what is no line of metrics is counted.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut log = Self::default();
        // A resumed run may repeat steps; the later line is the one that counts.
        let mut by_step: BTreeMap<u64, Map<String, Value>> = BTreeMap::new();
        for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            log.lines += 1;
            match parse_line(line) {
                Some((step, object)) => drop(by_step.insert(step, object)),
                None => log.skipped += 1,
            }
        }
        log.steps = by_step
            .first_key_value()
            .map(|(&first, _)| first)
            .zip(by_step.last_key_value().map(|(&last, _)| last));
        for (step, object) in by_step {
            for (key, value) in &object {
                log.add(step, key, value);
            }
        }
        log
    }

    /// The curve of a key that holds one number a line.
    pub(super) fn scalar(&self, key: &str) -> Option<&[(f64, f64)]> {
        self.curves.get(&(key.to_owned(), None)).map(Vec::as_slice)
    }

    fn add(&mut self, step: u64, key: &str, value: &Value) {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.add_point(step, key, Some(index), item);
                }
            }
            Value::Object(inner) => {
                for (name, value) in inner {
                    self.add(step, &format!("{key}.{name}"), value);
                }
            }
            single => self.add_point(step, key, None, single),
        }
    }

    fn add_point(&mut self, step: u64, key: &str, index: Option<usize>, value: &Value) {
        let number = match value {
            Value::Number(number) => number.as_f64().filter(|number| number.abs() <= LARGEST),
            Value::Null => None,
            _ => return,
        };
        let Some(number) = number else {
            self.not_finite += 1;
            return;
        };
        let number = if number.abs() < SMALLEST { 0.0 } else { number };
        let full = self.curves.len() >= MAX_CURVES;
        let curve = (key.to_owned(), index);
        if full && !self.curves.contains_key(&curve) {
            self.cut = true;
            return;
        }
        self.curves.entry(curve).or_default().push((step as f64, number));
    }
}

/// The step of a line and its other members.
fn parse_line(line: &[u8]) -> Option<(u64, Map<String, Value>)> {
    let mut object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let step = object.remove("step")?.as_u64()?;
    Some((step, object))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(log: &MetricsLog, key: &str, index: Option<usize>) -> Vec<(f64, f64)> {
        log.curves.get(&(key.to_owned(), index)).cloned().unwrap_or_default()
    }

    #[test]
    fn numbers_arrays_and_nested_objects_become_curves() {
        let log = MetricsLog::parse(
            b"{\"step\":2,\"loss\":1.5,\"heads\":[1,null,3],\"grad\":{\"adv\":7}}\r\n\n{\"step\":5,\"loss\":2,\"tag\":\"x\",\"on\":true}",
        );
        assert_eq!(curve(&log, "loss", None), [(2.0, 1.5), (5.0, 2.0)]);
        assert_eq!(log.scalar("loss"), Some(&[(2.0, 1.5), (5.0, 2.0)][..]));
        assert_eq!(curve(&log, "heads", Some(2)), [(2.0, 3.0)]);
        assert_eq!(curve(&log, "grad.adv", None), [(2.0, 7.0)]);
        assert_eq!((log.curves.len(), log.lines, log.skipped, log.not_finite), (4, 2, 0, 1));
        assert_eq!(log.steps, Some((2, 5)));
    }

    #[test]
    fn a_repeated_step_counts_once_and_steps_come_out_in_order() {
        let log = MetricsLog::parse(b"{\"step\":9,\"a\":1}\n{\"step\":3,\"a\":2}\n{\"step\":9,\"a\":4}\n");
        assert_eq!(curve(&log, "a", None), [(3.0, 2.0), (9.0, 4.0)]);
    }

    #[test]
    fn a_flood_of_keys_is_cut() {
        let object: Map<String, Value> = (0..1000).map(|at| (format!("k{at}"), at.into())).collect();
        let line = format!("{{\"step\":0,{}", &Value::Object(object).to_string()[1..]);
        let log = MetricsLog::parse(line.as_bytes());
        assert!(log.cut && log.curves.len() == MAX_CURVES);
    }

    #[test]
    fn a_number_too_large_to_draw_is_not_finite() {
        let log = MetricsLog::parse(b"{\"step\":0,\"a\":1e300,\"b\":-1e99}");
        assert_eq!((log.not_finite, log.curves.len()), (1, 1));
    }
}
