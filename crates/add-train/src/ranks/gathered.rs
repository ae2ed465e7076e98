//! A state whose tensors lie on several ranks, read through the first of them.

use std::collections::BTreeMap;

use add_weights::NamedTensor;
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::Collective;
use crate::state::State;

/// A tensor without its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TensorOutline {
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    /// Whether the values are of double precision.
    pub(crate) double: bool,
}

impl TensorOutline {
    /// The tensors of these groups, by group and name.
    pub(crate) fn all(groups: &BTreeMap<String, BTreeMap<String, NamedTensor>>) -> Vec<Self> {
        let of = |group: &str, name: &str, tensor: &NamedTensor| Self {
            group: group.to_owned(),
            name: name.to_owned(),
            shape: tensor.shape.clone(),
            double: tensor.values.dtype() == DType::F64,
        };
        let tensors =
            groups.iter().flat_map(|(group, tensors)| tensors.iter().map(move |tensor| (group, tensor)));
        tensors.map(|(group, (name, tensor))| of(group, name, tensor)).collect()
    }

    /// Its values from `bytes`.
    pub(crate) fn tensor(&self, bytes: Vec<u8>, device: &Device) -> Tensor<1> {
        let dtype = if self.double { DType::F64 } else { DType::F32 };
        let data = TensorData::from_bytes_vec(bytes, [self.shape.iter().product::<usize>()], dtype);
        Tensor::from_data(data, (device, dtype))
    }
}

/// The bytes of a tensor's values.
pub(crate) fn bytes(values: Tensor<1>) -> Vec<u8> {
    values.into_data().into_bytes().to_vec()
}

/// The tensors of all ranks' states. The first rank asks for each of them once, in their order; the others
/// [`send`](Self::send) theirs meanwhile. So no rank ever holds more than its own and one.
pub(crate) struct Gathered<'a> {
    state: &'a State,
    ranks: &'a dyn Collective,
    /// By group and name: the tensor, and the rank that alone has it; `None` where all have it.
    tensors: BTreeMap<String, BTreeMap<String, (TensorOutline, Option<usize>)>>,
}

impl<'a> Gathered<'a> {
    /// Learns what every rank has. All must be at this place.
    pub(crate) fn new(state: &'a State, ranks: &'a dyn Collective) -> Self {
        let mut tensors: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
        let mut insert = |outline: TensorOutline, owner| {
            tensors.entry(outline.group.clone()).or_default().insert(outline.name.clone(), (outline, owner));
        };
        for outline in TensorOutline::all(state.groups()) {
            insert(outline, None);
        }
        let own = serde_json::to_vec(&TensorOutline::all(state.shard())).expect("outlines are JSON");
        for (rank, text) in ranks.gather(&own).into_iter().enumerate() {
            let outlines: Vec<TensorOutline> =
                serde_json::from_slice(&text).expect("every rank sends outlines");
            for outline in outlines {
                insert(outline, Some(rank));
            }
        }
        Self { state, ranks, tensors }
    }

    /// What it is made of, but for the tensors.
    pub(crate) fn state(&self) -> &State {
        self.state
    }

    /// The tensors of each group by name.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&str, Vec<&TensorOutline>)> {
        self.tensors
            .iter()
            .map(|(group, tensors)| (group.as_str(), tensors.values().map(|(outline, _)| outline).collect()))
    }

    /// The values of the next tensor, on the host where another rank has them.
    pub(crate) fn values(&self, outline: &TensorOutline) -> Tensor<1> {
        let TensorOutline { group, name, .. } = outline;
        let own =
            |groups: &BTreeMap<String, BTreeMap<String, NamedTensor>>| groups[group][name].values.clone();
        let Some(owner) = self.tensors[group][name].1 else { return own(self.state.groups()) };
        if owner == self.ranks.rank() {
            let values = own(self.state.shard());
            self.ranks.broadcast(owner, bytes(values.clone()));
            return values;
        }
        outline.tensor(self.ranks.broadcast(owner, Vec::new()), &Device::flex())
    }

    /// Takes part in what the first rank reads.
    pub(crate) fn send(&self) {
        let all = self.tensors.values().flat_map(BTreeMap::values);
        all.filter(|(_, owner)| owner.is_some()).for_each(|(outline, _)| drop(self.values(outline)));
    }
}
