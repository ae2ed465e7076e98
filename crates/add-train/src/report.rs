//! What a training step tells: named figures, one JSON object per line of `metrics.jsonl`.

use burn::tensor::Tensor;
use serde::Serialize;

use crate::gradients::scalar;

/// A figure of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Figure {
    /// One number.
    Number(f64),
    /// One number per head.
    List(Vec<f64>),
}

/// How the figures of two parts of a batch make that of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Together {
    /// Each is its part's share of a mean.
    Sum,
    /// Each is the norm of its part of a vector.
    Norm,
}

/// A figure as it is kept.
#[derive(Debug, Clone)]
enum Kept {
    Number(f64, Together),
    /// For each part of the batch its share and one value per head, on the device until somebody asks.
    Heads(Vec<(f64, Vec<Tensor<1>>)>),
}

/// The figures of one step, in the order in which they are shown.
#[derive(Debug, Clone, Default)]
pub struct StepReport {
    entries: Vec<(&'static str, Kept)>,
}

impl StepReport {
    /// Adds a number; that of a part of the batch is its share of the mean over the batch.
    pub fn number(&mut self, name: &'static str, value: f64) {
        self.entries.push((name, Kept::Number(value, Together::Sum)));
    }

    /// Adds the norm of a vector, or of a part of it.
    pub fn norm(&mut self, name: &'static str, value: f64) {
        self.entries.push((name, Kept::Number(value, Together::Norm)));
    }

    /// Adds a mean `[1]` per head over a part that is `share` of the batch. It is read off the device only for a step
    /// that is logged.
    pub fn heads(&mut self, name: &'static str, share: f64, means: Vec<Tensor<1>>) {
        self.entries.push((name, Kept::Heads(vec![(share, means)])));
    }

    /// Adds the figures that all parts of a batch have given, as figures of the whole.
    pub fn extend(&mut self, parts: impl IntoIterator<Item = Self>) {
        let total = parts.into_iter().reduce(|mut total, part| {
            for ((name, kept), (other_name, other)) in total.entries.iter_mut().zip(part.entries) {
                debug_assert_eq!(*name, other_name, "the parts of a step report alike");
                kept.join(other);
            }
            total
        });
        self.entries.extend(total.unwrap_or_default().entries);
    }

    /// Its numbers alone, in order, those of the heads read off the device with their part's share before them.
    pub(crate) fn values(&self) -> Vec<f64> {
        let mut values = Vec::new();
        for (_, kept) in &self.entries {
            match kept {
                Kept::Number(value, _) => values.push(*value),
                Kept::Heads(parts) => {
                    for (share, means) in parts {
                        values.push(*share);
                        values.extend(means.iter().map(|mean| scalar(mean.clone())));
                    }
                }
            }
        }
        values
    }

    /// A report of the same figures with these numbers, as [`values`](Self::values) gives them.
    pub(crate) fn with_values(&self, values: impl IntoIterator<Item = f64>) -> Self {
        let (mut report, mut values) = (self.clone(), values.into_iter());
        let mut next = || values.next().expect("the parts of a step report alike");
        for (_, kept) in &mut report.entries {
            match kept {
                Kept::Number(value, _) => *value = next(),
                Kept::Heads(parts) => {
                    for (share, means) in parts {
                        *share = next();
                        for mean in means {
                            *mean = mean.full_like(next());
                        }
                    }
                }
            }
        }
        report
    }

    /// A number by name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.numbers().find_map(|(key, value)| (key == name).then_some(value))
    }

    /// One number per head by name, read off the device.
    pub fn per_head(&self, name: &str) -> Option<Vec<f64>> {
        let found = self.entries.iter().find(|(key, _)| *key == name)?;
        match found.1.figure() {
            Figure::List(values) => Some(values),
            Figure::Number(_) => None,
        }
    }

    /// The name of a number that is not finite. What the heads say shows in the losses.
    pub fn non_finite(&self) -> Option<&'static str> {
        self.numbers().find_map(|(name, value)| (!value.is_finite()).then_some(name))
    }

    /// The figures that are single numbers; none has to be read off a device.
    pub fn numbers(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.entries.iter().filter_map(|(name, kept)| match kept {
            Kept::Number(value, _) => Some((*name, *value)),
            Kept::Heads(_) => None,
        })
    }

    /// All figures, those of the heads read off the device.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, Figure)> {
        self.entries.iter().map(|(name, kept)| (*name, kept.figure()))
    }

    /// As one line of JSON; a value that is not finite becomes `null`.
    pub fn to_json(&self, step: u64) -> String {
        let mut object = serde_json::Map::new();
        object.insert("step".to_owned(), step.into());
        for (name, figure) in self.figures() {
            object.insert(name.to_owned(), serde_json::to_value(figure).unwrap_or_default());
        }
        serde_json::Value::Object(object).to_string()
    }
}

impl Kept {
    fn join(&mut self, other: Self) {
        match (self, other) {
            (Self::Number(a, Together::Norm), Self::Number(b, _)) => *a = a.hypot(b),
            (Self::Number(a, Together::Sum), Self::Number(b, _)) => *a += b,
            (Self::Heads(a), Self::Heads(b)) => a.extend(b),
            (a, b) => debug_assert!(false, "{a:?} and {b:?} are figures of one name"),
        }
    }

    fn figure(&self) -> Figure {
        match self {
            Self::Number(value, _) => Figure::Number(*value),
            Self::Heads(parts) => {
                let heads = parts.iter().map(|(_, means)| means.len()).max().unwrap_or(0);
                let mut totals = vec![0.0; heads];
                for (share, means) in parts {
                    for (total, mean) in totals.iter_mut().zip(means) {
                        *total += scalar(mean.clone()) * share;
                    }
                }
                Figure::List(totals)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn parts_make_a_whole() {
        let part = |share: f64, loss: f64, norm: f64, logits: [f32; 2]| {
            let mut report = StepReport::default();
            report.number("loss", loss);
            report.norm("grad_norm", norm);
            let means = logits.map(|logit| Tensor::from_floats([logit], &Device::flex()));
            report.heads("logits", share, means.into());
            report
        };
        let mut whole = StepReport::default();
        whole.extend([part(0.25, 0.25, 3.0, [4.0, 8.0]), part(0.75, 0.5, 4.0, [-4.0, 0.0])]);
        assert_eq!(whole.to_json(1), r#"{"grad_norm":5.0,"logits":[-2.0,2.0],"loss":0.75,"step":1}"#);
        assert_eq!((whole.get("loss"), whole.get("logits")), (Some(0.75), None));
        assert_eq!((whole.per_head("logits"), whole.per_head("loss")), (Some(vec![-2.0, 2.0]), None));
    }

    #[test]
    fn a_number_that_is_none_is_named() {
        let mut report = StepReport::default();
        report.number("loss", 1.0);
        assert_eq!(report.non_finite(), None);
        report.norm("grad_norm", f64::NAN);
        assert_eq!(report.non_finite(), Some("grad_norm"));
        assert_eq!(report.to_json(1), r#"{"grad_norm":null,"loss":1.0,"step":1}"#);
    }
}
