//! Exponential moving average of a network's parameters, with a half-life counted in images.

use std::collections::BTreeMap;

use add_plugin::Network;
use burn::tensor::Tensor;

use crate::{TrainError, optimizer::join, state::State};

/// The averaged values by name.
#[derive(Debug, Clone)]
pub struct Ema {
    half_life: f64,
    values: BTreeMap<String, Tensor<1>>,
}

impl Ema {
    /// Starts as a copy of `networks`; after `half_life` images an old value counts half.
    pub fn new(half_life: f64, networks: &[(&str, &dyn Network)]) -> Self {
        let mut values = BTreeMap::new();
        for (prefix, network) in networks {
            // `* 1` gives each value a buffer of its own, so that updates in place stay possible.
            network.for_each_parameter(&mut |path, _, value| {
                values.insert(join(prefix, path), value * 1.0);
            });
        }
        Self { half_life, values }
    }

    /// Moves towards the current parameters after a step of `batch` images.
    pub fn update(&mut self, networks: &[(&str, &dyn Network)], batch: usize) {
        self.update_by(networks, 0.5_f64.powf(batch as f64 / self.half_life));
    }

    /// `ema = decay * ema + (1 - decay) * value`.
    pub fn update_by(&mut self, networks: &[(&str, &dyn Network)], decay: f64) {
        for (prefix, network) in networks {
            network.for_each_parameter(&mut |path, _, value| {
                let name = join(prefix, path);
                let old = self.values.remove(&name).expect("the EMA was made from this network");
                self.values.insert(name, old * decay + value * (1.0 - decay));
            });
        }
    }

    /// Replaces the parameters of `network` by their averages.
    pub fn install(&self, prefix: &str, network: &mut dyn Network) {
        network.map_parameters(&mut |path, _, value| {
            self.values.get(&join(prefix, path)).cloned().unwrap_or(value)
        });
    }

    /// Puts the averages into `state`.
    pub fn save(&self, group: &str, state: &mut State) {
        for (name, value) in &self.values {
            state.set(group, name, value.clone());
        }
    }

    /// Takes them back.
    ///
    /// # Errors
    /// When one is missing.
    pub fn load(&mut self, group: &str, state: &State) -> Result<(), TrainError> {
        for (name, value) in &mut self.values {
            *value = state.get(group, name)?;
        }
        Ok(())
    }
}
