//! Everything that a resumed run needs, as named flat tensors and whole numbers.

use std::collections::BTreeMap;

use add_plugin::Network;
use add_weights::NamedTensor;
use burn::tensor::Tensor;
use sha2::{Digest, Sha256};

use crate::{TrainError, checkpoint::hex};

/// A snapshot of a run: groups (`student`, `ema`, `heads`, …) of named tensors, and counters.
///
/// A group is one file of a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct State {
    groups: BTreeMap<String, BTreeMap<String, NamedTensor>>,
    numbers: BTreeMap<String, u64>,
}

impl State {
    /// Sets a flat tensor.
    pub fn set(&mut self, group: &str, name: &str, values: Tensor<1>) {
        let shape = values.dims().to_vec();
        self.insert(group, name, NamedTensor { shape, values });
    }

    /// Sets a tensor with its shape.
    pub fn insert(&mut self, group: &str, name: &str, tensor: NamedTensor) {
        self.groups.entry(group.to_owned()).or_default().insert(name.to_owned(), tensor);
    }

    /// A tensor's values, flat.
    ///
    /// # Errors
    /// When the snapshot has none of this name.
    pub fn get(&self, group: &str, name: &str) -> Result<Tensor<1>, TrainError> {
        let found = self.groups.get(group).and_then(|tensors| tensors.get(name));
        found.map(|t| t.values.clone()).ok_or_else(|| TrainError::Missing(format!("{group}: {name}")))
    }

    /// Names in a group.
    pub fn names<'a>(&'a self, group: &str) -> impl Iterator<Item = &'a str> {
        self.groups.get(group).into_iter().flat_map(|tensors| tensors.keys().map(String::as_str))
    }

    /// Groups with their tensors.
    pub fn groups(&self) -> &BTreeMap<String, BTreeMap<String, NamedTensor>> {
        &self.groups
    }

    /// Sets a counter.
    pub fn set_number(&mut self, name: &str, value: u64) {
        self.numbers.insert(name.to_owned(), value);
    }

    /// A counter.
    ///
    /// # Errors
    /// When the snapshot has none of this name.
    pub fn number(&self, name: &str) -> Result<u64, TrainError> {
        self.numbers.get(name).copied().ok_or_else(|| TrainError::Missing(name.to_owned()))
    }

    /// All counters.
    pub fn numbers(&self) -> &BTreeMap<String, u64> {
        &self.numbers
    }

    /// SHA-256 of everything in it.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for (group, tensors) in &self.groups {
            for (name, tensor) in tensors {
                hasher.update(format!("{group}/{name} {:?};", tensor.shape));
                hasher.update(tensor.values.to_data().as_bytes());
            }
        }
        hasher.update(format!("{:?}", self.numbers));
        hex(&hasher.finalize())
    }

    /// Puts a network's parameters and buffers into `group`.
    pub fn save_network(&mut self, group: &str, network: &dyn Network) {
        network.for_each_parameter(&mut |path, shape, values| {
            self.insert(group, path, NamedTensor { shape: shape.to_vec(), values });
        });
    }

    /// Gives a network its parameters and buffers back.
    ///
    /// # Errors
    /// When one is missing or has another number of values.
    pub fn load_network(&self, group: &str, network: &mut dyn Network) -> Result<(), TrainError> {
        let mut problems = Vec::new();
        network.map_parameters(&mut |path, shape, value| match self.get(group, path) {
            Ok(saved) if saved.dims() == value.dims() => saved.to_device(&value.device()),
            Ok(saved) => {
                problems
                    .push(format!("{group}: {path}: expected {shape:?}, found {} values", saved.dims()[0]));
                value
            }
            Err(_) => {
                problems.push(format!("{group}: {path}: missing"));
                value
            }
        });
        if problems.is_empty() { Ok(()) } else { Err(TrainError::Missing(problems.join("\n"))) }
    }
}
