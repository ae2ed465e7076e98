//! What a training step tells: named figures, one JSON object per line of `metrics.jsonl`.

use serde::Serialize;

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

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    name: &'static str,
    figure: Figure,
    together: Together,
}

/// The figures of one step, in the order in which they are shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepReport {
    entries: Vec<Entry>,
}

impl StepReport {
    /// Adds a number; that of a part of the batch is its share of the mean over the batch.
    pub fn number(&mut self, name: &'static str, value: f64) {
        self.entries.push(Entry { name, figure: Figure::Number(value), together: Together::Sum });
    }

    /// Adds the norm of a vector, or of a part of it.
    pub fn norm(&mut self, name: &'static str, value: f64) {
        self.entries.push(Entry { name, figure: Figure::Number(value), together: Together::Norm });
    }

    /// Adds one number per head; those of a part of the batch are its shares of the means over the batch.
    pub fn list(&mut self, name: &'static str, values: Vec<f64>) {
        self.entries.push(Entry { name, figure: Figure::List(values), together: Together::Sum });
    }

    /// Adds the figures that all parts of a batch have given, as figures of the whole.
    pub fn extend(&mut self, parts: impl IntoIterator<Item = Self>) {
        let total = parts.into_iter().reduce(|mut total, part| {
            for (entry, other) in total.entries.iter_mut().zip(part.entries) {
                debug_assert_eq!(entry.name, other.name, "the parts of a step report alike");
                entry.figure.join(other.figure, entry.together);
            }
            total
        });
        self.entries.extend(total.unwrap_or_default().entries);
    }

    /// A number by name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.figures().find_map(|(key, figure)| match figure {
            Figure::Number(value) if key == name => Some(*value),
            _ => None,
        })
    }

    /// The name of a figure that is not finite.
    pub fn non_finite(&self) -> Option<&'static str> {
        let bad = |figure: &Figure| match figure {
            Figure::Number(value) => !value.is_finite(),
            Figure::List(values) => values.iter().any(|value| !value.is_finite()),
        };
        self.figures().find(|(_, figure)| bad(figure)).map(|(name, _)| name)
    }

    /// All figures.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, &Figure)> {
        self.entries.iter().map(|entry| (entry.name, &entry.figure))
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

impl Figure {
    fn join(&mut self, other: Self, together: Together) {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) if together == Together::Norm => *a = a.hypot(b),
            (Self::Number(a), Self::Number(b)) => *a += b,
            (Self::List(a), Self::List(b)) => a.iter_mut().zip(b).for_each(|(a, b)| *a += b),
            (a, b) => debug_assert!(false, "{a:?} and {b:?} are figures of one name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_a_whole() {
        let part = |loss: f64, norm: f64| {
            let mut report = StepReport::default();
            report.number("loss", loss);
            report.norm("grad_norm", norm);
            report.list("logits", vec![loss, 1.0]);
            report
        };
        let mut whole = StepReport::default();
        whole.extend([part(0.25, 3.0), part(0.5, 4.0)]);
        assert_eq!(whole, part(0.75, 5.0).with_list(vec![0.75, 2.0]));
    }

    impl StepReport {
        fn with_list(mut self, values: Vec<f64>) -> Self {
            self.entries[2].figure = Figure::List(values);
            self
        }
    }
}
