//! AdamW over named parameters (Loshchilov and Hutter 2019), with the defaults of `torch.optim.AdamW`.
//!
//! Burn's own optimiser keeps its moments by parameter id and clips each tensor by itself; this one keeps them by
//! name, so that a checkpoint is a plain table, and takes the factor of a global-norm clipping.

use std::collections::BTreeMap;

use add_kernels::{AdamWStep, adamw_step};
use add_plugin::Network;
use serde::{Deserialize, Serialize};

use crate::{gradients::GradientMap, state::State};

/// Hyper-parameters of AdamW.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Learning rate after the warm-up.
    pub lr: f64,
    /// `(beta_1, beta_2)`.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Steps over which the learning rate rises linearly from zero.
    pub warm_up: u64,
    /// Steps at the end over which the learning rate falls to zero along a cosine; 0 keeps it constant.
    pub cool_down: u64,
    /// Largest global gradient norm.
    pub clip_norm: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            lr: 1e-5,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 1e-2,
            warm_up: 500,
            cool_down: 0,
            clip_norm: 1.0,
        }
    }
}

impl AdamWConfig {
    /// Learning rate of 0-based `step` out of `steps`.
    pub fn lr_at(&self, step: u64, steps: u64) -> f64 {
        let rise = if step < self.warm_up { (step + 1) as f64 / self.warm_up as f64 } else { 1.0 };
        let left = steps.saturating_sub(step);
        let fall = if left < self.cool_down {
            let part = left as f64 / self.cool_down as f64;
            0.5 - 0.5 * (std::f64::consts::PI * part).cos()
        } else {
            1.0
        };
        self.lr * rise * fall
    }
}

/// The optimiser with its moments.
#[derive(Debug, Clone)]
pub struct AdamW {
    config: AdamWConfig,
    time: u64,
    moments: BTreeMap<String, [burn::tensor::Tensor<1>; 2]>,
}

impl AdamW {
    /// Without any moment yet.
    pub fn new(config: AdamWConfig) -> Self {
        Self { config, time: 0, moments: BTreeMap::new() }
    }

    /// Its hyper-parameters.
    pub fn config(&self) -> &AdamWConfig {
        &self.config
    }

    /// One update of the parameters that have a gradient, which is multiplied by `grad_scale` first.
    /// The gradients' names are the networks' prefixes followed by the parameter paths.
    pub fn step(
        &mut self,
        networks: &mut [(&str, &mut dyn Network)],
        mut gradients: GradientMap,
        lr: f64,
        grad_scale: f64,
    ) {
        self.time += 1;
        let AdamWConfig { betas: (beta_1, beta_2), eps, weight_decay, .. } = self.config;
        let step = AdamWStep { lr, beta_1, beta_2, eps, weight_decay, time: self.time, grad_scale };
        for (prefix, network) in networks {
            network.map_parameters(&mut |path, _, value| {
                let name = join(prefix, path);
                let Some(gradient) = gradients.remove(&name) else { return value };
                let zeros = || value.zeros_like();
                let [m, v] = self.moments.remove(&name).unwrap_or_else(|| [zeros(), zeros()]);
                let [value, m, v] = adamw_step(value, gradient, m, v, step);
                self.moments.insert(name, [m, v]);
                value
            });
        }
    }

    /// Puts the moments and the step count into `state`, under `group`.
    pub fn save(&self, group: &str, state: &mut State) {
        state.set_number(&format!("{group}.time"), self.time);
        for (name, [m, v]) in &self.moments {
            state.set(group, &format!("m.{name}"), m.clone());
            state.set(group, &format!("v.{name}"), v.clone());
        }
    }

    /// The tensor to which an entry of a saved group belongs.
    pub(crate) fn tensor_of(entry: &str) -> &str {
        ["m.", "v."].into_iter().find_map(|moment| entry.strip_prefix(moment)).unwrap_or(entry)
    }

    /// Takes them back.
    ///
    /// # Errors
    /// When a moment is missing.
    pub fn load(&mut self, group: &str, state: &State) -> Result<(), crate::TrainError> {
        self.time = state.number(&format!("{group}.time"))?;
        self.moments.clear();
        for name in state.names(group).filter_map(|name| name.strip_prefix("m.")) {
            let [m, v] = ["m", "v"].map(|moment| state.get(group, &format!("{moment}.{name}")));
            self.moments.insert(name.to_owned(), [m?, v?]);
        }
        Ok(())
    }
}

/// `prefix.path`, or the path alone under an empty prefix.
pub fn join(prefix: &str, path: &str) -> String {
    if prefix.is_empty() { path.to_owned() } else { format!("{prefix}.{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_stays_and_falls() {
        let config = AdamWConfig { lr: 1.0, warm_up: 10, cool_down: 20, ..AdamWConfig::default() };
        assert!((config.lr_at(0, 100) - 0.1).abs() < 1e-12);
        assert!((config.lr_at(9, 100) - 1.0).abs() < 1e-12);
        assert!((config.lr_at(50, 100) - 1.0).abs() < 1e-12);
        assert!((config.lr_at(90, 100) - 0.5).abs() < 1e-12);
        assert!(config.lr_at(99, 100) < 0.01);
    }
}
