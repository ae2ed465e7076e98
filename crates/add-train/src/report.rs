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

/// The figures of one step, in the order in which they are shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepReport {
    figures: Vec<(&'static str, Figure)>,
}

impl StepReport {
    /// Adds a number.
    pub fn number(&mut self, name: &'static str, value: f64) {
        self.figures.push((name, Figure::Number(value)));
    }

    /// Adds one number per head.
    pub fn list(&mut self, name: &'static str, values: Vec<f64>) {
        self.figures.push((name, Figure::List(values)));
    }

    /// A number by name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.figures.iter().find_map(|(key, figure)| match figure {
            Figure::Number(value) if *key == name => Some(*value),
            _ => None,
        })
    }

    /// The name of a figure that is not finite.
    pub fn non_finite(&self) -> Option<&'static str> {
        let bad = |figure: &Figure| match figure {
            Figure::Number(value) => !value.is_finite(),
            Figure::List(values) => values.iter().any(|value| !value.is_finite()),
        };
        self.figures.iter().find(|(_, figure)| bad(figure)).map(|(name, _)| *name)
    }

    /// All figures.
    pub fn figures(&self) -> &[(&'static str, Figure)] {
        &self.figures
    }

    /// As one line of JSON; a value that is not finite becomes `null`.
    pub fn to_json(&self, step: u64) -> String {
        let mut object = serde_json::Map::new();
        object.insert("step".to_owned(), step.into());
        for (name, figure) in &self.figures {
            object.insert((*name).to_owned(), serde_json::to_value(figure).unwrap_or_default());
        }
        serde_json::Value::Object(object).to_string()
    }
}
