//! Exponential moving average of a network's parameters, with a half-life counted in images.
//!
//! Early in a run the half-life is a twentieth of the images seen, so that the first values do not linger in the
//! average (Karras et al. 2022, the reference code of EDM).

use std::collections::BTreeMap;

use add_kernels::ema_lerp;
use add_plugin::{Network, for_each_own};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::{TrainError, optimizer::join, ranks::Shards, state::State};

/// The half-life is at most this part of the images seen, unless the ramp-up is off.
const RAMP_UP: f64 = 0.05;

/// The averaged values by name.
#[derive(Debug, Clone)]
pub struct Ema {
    half_life: f64,
    ramp_up: f64,
    seen: u64,
    home: Home,
    /// Those that this rank keeps.
    values: BTreeMap<String, Tensor<1>>,
    /// Which rank keeps which.
    shards: Shards,
    /// Those that other ranks keep, while they are here.
    gathered: BTreeMap<String, Tensor<1>>,
}

/// Where an average lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Home {
    /// Beside the network.
    #[default]
    Device,
    /// In the computer's memory: every step sends the network's values there.
    Host,
}

impl Home {
    /// Whether it is the network's device.
    pub fn is_device(&self) -> bool {
        *self == Self::Device
    }

    fn bring(self, value: Tensor<1>) -> Tensor<1> {
        match self {
            Self::Device => value,
            Self::Host => value.to_device(&Device::flex()),
        }
    }

    /// Zeros where the average of `value` lies.
    fn zeros(self, value: &Tensor<1>) -> Tensor<1> {
        let device = match self {
            Self::Device => value.device(),
            Self::Host => Device::flex(),
        };
        Tensor::zeros(value.dims(), (&device, value.dtype()))
    }
}

impl Ema {
    /// Starts as a copy of `networks`; after `half_life` images an old value counts half.
    pub fn new(half_life: f64, networks: &[(&str, &dyn Network)]) -> Self {
        Self::sharded(half_life, networks, Shards::default())
    }

    /// The same, of what this rank keeps.
    pub(crate) fn sharded(half_life: f64, networks: &[(&str, &dyn Network)], shards: Shards) -> Self {
        let mut values = BTreeMap::new();
        for (prefix, network) in networks {
            for_each_own(*network, &mut |path, _, value| {
                let name = join(prefix, path);
                if shards.keeps(&name) {
                    // `* 1` gives each value a buffer of its own, so that updates in place stay possible.
                    values.insert(name, value * 1.0);
                }
            });
        }
        let gathered = BTreeMap::new();
        Self { half_life, ramp_up: RAMP_UP, seen: 0, home: Home::Device, values, shards, gathered }
    }

    /// Without the ramp-up: the half-life holds from the first step on.
    #[must_use]
    pub fn constant(self) -> Self {
        Self { ramp_up: f64::INFINITY, ..self }
    }

    /// With the average at `home`.
    #[must_use]
    pub fn at(self, home: Home) -> Self {
        let values = self.values.into_iter().map(|(name, value)| (name, home.bring(value))).collect();
        Self { home, values, ..self }
    }

    /// Moves towards the current parameters after a step of `batch` images.
    ///
    /// `ema = d ema + (1 - d) value` with `d = 2^(-batch / half-life)`.
    pub fn update(&mut self, networks: &[(&str, &dyn Network)], batch: usize) {
        self.seen += batch as u64;
        let half_life = self.half_life.min(self.ramp_up * self.seen as f64);
        self.update_by(networks, 0.5_f64.powf(batch as f64 / half_life));
    }

    /// `ema = decay * ema + (1 - decay) * value`.
    pub fn update_by(&mut self, networks: &[(&str, &dyn Network)], decay: f64) {
        for (prefix, network) in networks {
            for_each_own(*network, &mut |path, _, value| {
                let name = join(prefix, path);
                if !self.shards.keeps(&name) {
                    return;
                }
                let old = self.values.remove(&name).expect("the EMA was made from this network");
                self.values.insert(name, ema_lerp(old, self.home.bring(value), decay));
            });
        }
    }

    /// Whether this rank keeps the average of the tensor `name`.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        self.shards.keeps(name)
    }

    /// Whether each rank keeps a share.
    pub(crate) fn is_shared(&self) -> bool {
        self.shards.are_shared()
    }

    /// Brings the averages that other ranks keep, to those ranks that `want` them. All must be at this place.
    pub(crate) fn gather(&mut self, networks: &[(&str, &dyn Network)], want: bool) {
        for (prefix, network) in networks {
            for_each_own(*network, &mut |path, _, value| {
                let name = join(prefix, path);
                let own = self.values.get(&name).cloned();
                let average = self.shards.spread(&name, own.unwrap_or_else(|| self.home.zeros(&value)));
                if want && !self.shards.keeps(&name) {
                    self.gathered.insert(name, average);
                }
            });
        }
    }

    /// Lets go of what was gathered.
    pub(crate) fn release(&mut self) {
        self.gathered.clear();
    }

    /// Replaces the parameters of `network` by their averages.
    ///
    /// # Panics
    /// When other ranks keep some of them and they were not gathered.
    pub fn install(&self, prefix: &str, network: &mut dyn Network) {
        network.map_parameters(&mut |path, _, value| {
            let name = join(prefix, path);
            let Some(average) = self.values.get(&name).or_else(|| self.gathered.get(&name)) else {
                assert!(self.shards.keeps(&name), "the average of {name} is on another rank");
                return value;
            };
            // A network that follows an average may be held in bf16.
            average.clone().to_device(&value.device()).cast(value.dtype())
        });
    }

    /// Puts the averages into `state`.
    pub fn save(&self, group: &str, state: &mut State) {
        state.set_number(&format!("{group}.seen"), self.seen);
        for (name, value) in &self.values {
            state.set(group, name, value.clone());
        }
    }

    /// Takes them back.
    ///
    /// # Errors
    /// When one is missing.
    pub fn load(&mut self, group: &str, state: &State) -> Result<(), TrainError> {
        self.seen = state.number(&format!("{group}.seen"))?;
        for (name, value) in &mut self.values {
            *value = self.home.bring(state.get(group, name)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn::{
        module::{Module, Param},
        tensor::Device,
    };

    use super::*;

    #[derive(Module, Debug)]
    struct One {
        value: Param<Tensor<1>>,
    }

    fn one(value: f32) -> One {
        One { value: Param::from_tensor(Tensor::from_floats([value], &Device::flex())) }
    }

    fn average(ema: &Ema) -> f64 {
        let mut network = one(0.0);
        ema.install("", &mut network);
        crate::gradients::scalar(network.value.val())
    }

    #[test]
    fn the_average_moves_by_one_minus_the_decay() {
        let mut ema = Ema::new(100.0, &[("", &one(1.0))]);
        ema.update_by(&[("", &one(3.0))], 0.75);
        assert!((average(&ema) - 1.5).abs() < 1e-6);
    }

    #[test]
    fn without_ramp_up_the_first_half_life_halves() {
        let mut ema = Ema::new(100.0, &[("", &one(1.0))]).constant();
        for _ in 0..2 {
            ema.update(&[("", &one(0.0))], 50);
        }
        assert!((average(&ema) - 0.5).abs() < 1e-6, "{}", average(&ema));
    }

    #[test]
    fn the_first_values_do_not_linger() {
        let mut ema = Ema::new(1e6, &[("", &one(1.0))]);
        for _ in 0..20 {
            ema.update(&[("", &one(0.0))], 32);
        }
        assert!(average(&ema) < 1e-6, "{}", average(&ema));
    }
}
