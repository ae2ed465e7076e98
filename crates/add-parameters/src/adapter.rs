//! Adapters: small trainable factors beside frozen weights.

use serde::{Deserialize, Serialize};

/// Low-rank adapters on linear and convolution layers: `W x + (alpha / rank) B A x`. Hu et al. 2021.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rows of `A`.
    pub rank: usize,
    /// The adapter counts `alpha / rank`.
    pub alpha: f64,
    /// Ends of the layers' names, such as `to_q` or `ff.net.2`; empty for every linear and convolution layer.
    pub targets: Vec<String>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: 64, alpha: 64.0, targets: Vec::new() }
    }
}

impl LoraConfig {
    /// Whether the layer at `path` has an adapter.
    pub fn wants(&self, path: &str) -> bool {
        let ends = |target: &String| {
            path.strip_suffix(target.as_str()).is_some_and(|front| front.is_empty() || front.ends_with('.'))
        };
        self.targets.is_empty() || self.targets.iter().any(ends)
    }

    /// `alpha / rank`.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }
}

/// Ends the path of a factor `A`.
pub const DOWN: &str = ".lora.down";
/// Ends the path of a factor `B`.
pub const UP: &str = ".lora.up";

/// Whether a parameter belongs to an adapter.
pub fn is_adapter(path: &str) -> bool {
    path.ends_with(DOWN) || path.ends_with(UP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_ends_of_names() {
        let config = |targets: &[&str]| LoraConfig {
            targets: targets.iter().map(|&target| target.to_owned()).collect(),
            ..LoraConfig::default()
        };
        assert!(config(&["to_q", "to_k"]).wants("down.0.attn1.to_k"));
        assert!(config(&["ff.net.2"]).wants("block.ff.net.2"));
        assert!(!config(&["to_q"]).wants("down.0.attn1.not_to_q"));
        assert!(!config(&["to_q"]).wants("down.0.to_q.inner"));
        assert!(config(&[]).wants("anything"));
    }
}
