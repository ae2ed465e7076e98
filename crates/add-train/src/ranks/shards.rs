//! Optimiser states that ranks share: each keeps the moments and the average of some tensors (ZeRO stage 1, Rajbhandari et
//! al. 2020).
//!
//! Every rank has all values and all gradients, updates the tensors whose states it keeps, and sends them to the others. A
//! tensor belongs to one rank as a whole, and its update reads no other tensor: so it does not matter to the bits who makes it.

use std::{cmp::Reverse, collections::BTreeMap, rc::Rc};

use burn::tensor::{
    Device, Tensor, TensorData,
    distributed::{ReduceOperation, all_reduce},
};
use serde::{Deserialize, Serialize};

use super::{Alone, Collective};

/// Who keeps the optimisers' moments and the running averages of a run that several ranks share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OptimizerStates {
    /// Every rank keeps all of them.
    #[default]
    Replicated,
    /// Each rank keeps its share, and the ranks send each other the updated values in every step.
    Sharded,
}

impl OptimizerStates {
    /// Whether every rank keeps all of them.
    pub fn are_replicated(&self) -> bool {
        *self == Self::Replicated
    }

    /// How many of `ranks` share them.
    pub fn sharers(self, ranks: usize) -> usize {
        match self {
            Self::Replicated => 1,
            Self::Sharded => ranks,
        }
    }
}

/// Values that are kept for a tensor of `values` values beside itself: two moments, and an average where ranks share that too.
pub fn kept_values(values: usize, average: bool) -> usize {
    (2 + usize::from(average)) * values
}

/// Which of `ranks` keeps each of the tensors of these `sizes`: from the largest on, each goes to the rank that has least.
pub fn balanced(sizes: &[usize], ranks: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&tensor| Reverse(sizes[tensor]));
    let (mut owners, mut kept) = (vec![0; sizes.len()], vec![0; ranks.max(1)]);
    for tensor in order {
        let owner = (0..kept.len()).min_by_key(|&rank| kept[rank]).unwrap_or(0);
        owners[tensor] = owner;
        kept[owner] += sizes[tensor];
    }
    owners
}

/// Which rank keeps the states of each tensor of an optimiser.
#[derive(Debug, Clone)]
pub(crate) struct Shards {
    ranks: Rc<dyn Collective>,
    /// By the tensor's name; the states of one that is not listed are on every rank.
    owners: Rc<BTreeMap<String, usize>>,
}

impl Default for Shards {
    /// All states are on every rank.
    fn default() -> Self {
        Self::new(Rc::new(Alone), BTreeMap::new())
    }
}

impl Shards {
    pub(crate) fn new(ranks: Rc<dyn Collective>, owners: BTreeMap<String, usize>) -> Self {
        Self { ranks, owners: Rc::new(owners) }
    }

    /// Whether states are kept by one rank each.
    pub(crate) fn are_shared(&self) -> bool {
        !self.owners.is_empty()
    }

    /// Whether this rank keeps the states of the tensor `name`.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        self.owners.get(name).is_none_or(|&owner| owner == self.ranks.rank())
    }

    /// The `value` of the rank that keeps the states of the tensor `name`, on every rank. All must be at this place, each with a
    /// tensor of the same length and type.
    pub(crate) fn spread(&self, name: &str, value: Tensor<1>) -> Tensor<1> {
        let Some(&owner) = self.owners.get(name) else { return value };
        let (own, device) = (owner == self.ranks.rank(), value.device());
        match self.ranks.devices() {
            Some(devices) if devices.contains(&device) => spread_on(devices, own, value),
            _ => self.spread_by_host(owner, value, &device),
        }
    }

    fn spread_by_host(&self, owner: usize, value: Tensor<1>, device: &Device) -> Tensor<1> {
        let own = owner == self.ranks.rank();
        let bytes = if own { value.to_data().into_bytes().to_vec() } else { Vec::new() };
        let bytes = self.ranks.broadcast(owner, bytes);
        if own {
            return value;
        }
        let dtype = value.dtype();
        Tensor::from_data(TensorData::from_bytes_vec(bytes, value.dims(), dtype), (device, dtype))
    }
}

/// The same among devices, whose one operation is a sum: the others add zeros. All take the result, lest the sign of a zero
/// differ between ranks.
fn spread_on(devices: &[Device], own: bool, value: Tensor<1>) -> Tensor<1> {
    let part = if own { value } else { value.zeros_like() };
    all_reduce(part, ReduceOperation::Sum, devices.to_vec()).resolve()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::{Threads, is_first};

    #[test]
    fn the_largest_tensors_are_shared_out_first() {
        assert_eq!(balanced(&[1, 9, 4, 5, 1], 2), [0, 0, 1, 1, 1]);
        assert_eq!(balanced(&[3, 3, 3], 1), [0; 3]);
        assert_eq!(balanced(&[2], 4), [0]);
    }

    #[test]
    fn no_rank_keeps_more_than_its_share_and_one_tensor() {
        let sizes: Vec<usize> = (0..200).map(|i| 1 + (i * 7919) % 1000).collect();
        for ranks in [2, 3, 8] {
            let owners = balanced(&sizes, ranks);
            let kept = |rank| {
                sizes.iter().zip(&owners).filter(|(_, owner)| **owner == rank).map(|(n, _)| n).sum::<usize>()
            };
            let fullest = (0..ranks).map(kept).max().unwrap();
            assert!(fullest <= sizes.iter().sum::<usize>() / ranks + 1000, "{ranks} ranks: {fullest}");
        }
    }

    #[test]
    fn every_rank_gets_the_keepers_value_bit_for_bit() {
        let bits = [0x8000_0000, 1, 0x3F80_0001, 0xC048_F5C3].map(f32::from_bits);
        std::thread::scope(|scope| {
            for ranks in Threads::new(3) {
                scope.spawn(move || {
                    let (first, mine) = (is_first(&ranks), ranks.rank() == 2);
                    let owners = BTreeMap::from([("a".to_owned(), 2)]);
                    let shards = Shards::new(Rc::new(ranks), owners);
                    assert_eq!((shards.keeps("a"), shards.keeps("b")), (mine, true));
                    let device = Device::flex();
                    let value =
                        if mine { Tensor::from_floats(bits, &device) } else { Tensor::zeros([4], &device) };
                    let got: Vec<f32> = shards.spread("a", value).into_data().iter().collect();
                    assert_eq!(got.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), bits.map(f32::to_bits));
                    let own = Tensor::from_floats([if first { 1.0 } else { 2.0 }], &device);
                    let kept: f32 = shards.spread("b", own).into_data().iter().next().unwrap();
                    assert!((kept < 1.5) == first, "what all keep is not sent");
                });
            }
        });
    }
}
