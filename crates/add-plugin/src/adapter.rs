//! Adapters: small trainable factors beside frozen weights.

use serde::{Deserialize, Serialize};

/// Low-rank adapters on linear and convolution layers: `W x + (alpha / rank) B A x`. Hu et al. 2021.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// Rows of `A`.
    pub rank: usize,
    /// The adapter counts `alpha / rank`.
    pub alpha: f64,
    /// Ends of the layers' names, such as `to_q` or `ff.net.2`; empty for every linear and convolution layer.
    pub targets: Vec<String>,
}

impl Default for Lora {
    fn default() -> Self {
        Self { rank: 64, alpha: 64.0, targets: Vec::new() }
    }
}

impl Lora {
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
