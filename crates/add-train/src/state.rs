//! Everything that a resumed run needs, as named flat tensors and whole numbers.

use std::collections::BTreeMap;

use add_plugin::{Network, for_each_own, has_adapters, is_adapter};
use add_weights::NamedTensor;
use burn::tensor::Tensor;
use sha2::{Digest, Sha256};

use crate::TrainError;

/// Tensors by their group and name.
type Groups = BTreeMap<String, BTreeMap<String, NamedTensor>>;

/// A snapshot of a run: groups (`student`, `ema`, `heads`, …) of named tensors, and counters.
///
/// A group is one file of a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct State {
    groups: Groups,
    /// What this rank alone has of a run that several share.
    shard: Groups,
    numbers: BTreeMap<String, u64>,
    frozen: BTreeMap<String, String>,
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

    /// Adds the tensors of `part`, which this rank alone has, and its counters, which all ranks have.
    pub(crate) fn insert_shard(&mut self, part: Self) {
        for (group, tensors) in part.groups {
            self.shard.entry(group).or_default().extend(tensors);
        }
        self.numbers.extend(part.numbers);
    }

    /// The tensors that this rank alone has.
    pub(crate) fn shard(&self) -> &BTreeMap<String, BTreeMap<String, NamedTensor>> {
        &self.shard
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

    /// Says that `what` stays as it is and has this SHA-256; its values are not kept.
    pub fn set_frozen(&mut self, what: &str, digest: &str) {
        self.frozen.insert(what.to_owned(), digest.to_owned());
    }

    /// The SHA-256 of what stays as it is.
    pub fn frozen(&self) -> &BTreeMap<String, String> {
        &self.frozen
    }

    /// Refuses another `what` than the one that the snapshot was taken beside.
    ///
    /// # Errors
    /// When the SHA-256 differs.
    pub fn check_frozen(&self, what: &str, digest: &str) -> Result<(), TrainError> {
        match self.frozen.get(what).map_or("none", String::as_str) {
            found if found == digest => Ok(()),
            found => Err(TrainError::Missing(format!(
                "{what}: base weights differ: the adapters were trained on SHA-256 {found}, found {digest}"
            ))),
        }
    }

    /// SHA-256 of everything in it, but for what this rank alone has of a run that several share.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for (group, tensors) in &self.groups {
            for (name, tensor) in tensors {
                hasher.update(format!("{group}/{name} {:?};", tensor.shape));
                hasher.update(tensor.values.to_data().as_bytes());
            }
        }
        hasher.update(format!("{:?}{:?}", self.numbers, self.frozen));
        hex::encode(hasher.finalize())
    }

    /// Puts a network's parameters and buffers into `group`; where it has adapters, those alone.
    pub fn save_network(&mut self, group: &str, network: &dyn Network) {
        for_each_own(network, &mut |path, shape, values| {
            self.insert(group, path, NamedTensor { shape: shape.to_vec(), values });
        });
    }

    /// SHA-256 of a network's parameters and buffers.
    pub fn digest_of(network: &dyn Network) -> String {
        let mut state = Self::default();
        state.save_network("network", network);
        state.digest()
    }

    /// Gives a network its parameters and buffers back.
    ///
    /// # Errors
    /// When one is missing or has another number of values.
    pub fn load_network(&self, group: &str, network: &mut dyn Network) -> Result<(), TrainError> {
        let mut problems = Vec::new();
        let adapted = has_adapters(network);
        network.map_parameters(&mut |path, shape, value| match self.get(group, path) {
            _ if adapted && !is_adapter(path) => value,
            // A frozen network may be held in bf16; files hold f32.
            Ok(saved) if saved.dims() == value.dims() => saved.to_device(&value.device()).cast(value.dtype()),
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
