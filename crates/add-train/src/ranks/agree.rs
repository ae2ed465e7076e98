//! What all ranks must have in common, and how they come by it.

use std::collections::BTreeMap;

use add_weights::NamedTensor;
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::Collective;
use crate::{TrainError, state::State};

/// Refuses a rank whose `value` of `what` is not the first rank's.
///
/// # Errors
/// On every rank, naming the first rank that differs.
pub fn agree(ranks: &dyn Collective, what: &str, value: &str) -> Result<(), TrainError> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let values = ranks.gather(value.as_bytes());
    let shown = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    match values.iter().position(|value| *value != values[0]) {
        None => Ok(()),
        Some(rank) => Err(TrainError::Ranks {
            rank,
            what: what.to_owned(),
            expected: shown(&values[0]),
            found: shown(&values[rank]),
        }),
    }
}

/// Refuses a rank whose `state` is not the first rank's, bit for bit. `state` is made where there are several ranks alone.
///
/// # Errors
/// On every rank, naming the first rank that differs.
pub(crate) fn agree_on_state(
    ranks: &dyn Collective,
    step: u64,
    state: impl FnOnce() -> State,
) -> Result<(), TrainError> {
    if ranks.size() == 1 {
        return Ok(());
    }
    agree(ranks, &format!("the SHA-256 of networks and optimisers after step {step},"), &state().digest())
}

/// A state without its values.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Outline {
    step: u64,
    numbers: BTreeMap<String, u64>,
    frozen: BTreeMap<String, String>,
    /// Group, name, shape and whether the values are of double precision.
    tensors: Vec<(String, String, Vec<usize>, bool)>,
}

/// The first rank's `resumed` steps and state, on every rank; its files need not be there for the others to read.
pub(crate) fn from_first(
    ranks: &dyn Collective,
    resumed: Option<(u64, State)>,
    device: &Device,
) -> Option<(u64, State)> {
    if ranks.size() == 1 {
        return resumed;
    }
    let outline = resumed.as_ref().map(|(step, state)| Outline::of(*step, state));
    let text = serde_json::to_vec(&outline).expect("an outline holds nothing that JSON cannot");
    let text = ranks.broadcast(text);
    let outline: Option<Outline> = serde_json::from_slice(&text).expect("the first rank sends an outline");
    let Outline { step, numbers, frozen, tensors } = outline?;
    let mut state = State::default();
    for (name, value) in numbers {
        state.set_number(&name, value);
    }
    for (what, digest) in frozen {
        state.set_frozen(&what, &digest);
    }
    for (group, name, shape, double) in tensors {
        let dtype = if double { DType::F64 } else { DType::F32 };
        let mine = resumed.as_ref().and_then(|(_, state)| state.get(&group, &name).ok());
        let bytes = mine.map_or_else(Vec::new, |values| values.into_data().into_bytes().to_vec());
        let data =
            TensorData::from_bytes_vec(ranks.broadcast(bytes), [shape.iter().product::<usize>()], dtype);
        let values = Tensor::from_data(data, (device, dtype));
        state.insert(&group, &name, NamedTensor { shape, values });
    }
    Some((step, state))
}

impl Outline {
    fn of(step: u64, state: &State) -> Self {
        let tensors = state.groups().iter().flat_map(|(group, tensors)| {
            tensors.iter().map(|(name, tensor)| {
                let double = tensor.values.dtype() == DType::F64;
                (group.clone(), name.clone(), tensor.shape.clone(), double)
            })
        });
        let (numbers, frozen) = (state.numbers().clone(), state.frozen().clone());
        Self { step, numbers, frozen, tensors: tensors.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::{Threads, is_first};

    fn on_two<R: Send>(f: impl Fn(&Threads) -> R + Sync) -> Vec<R> {
        std::thread::scope(|scope| {
            let f = &f;
            let handles: Vec<_> =
                Threads::new(2).into_iter().map(|ranks| scope.spawn(move || f(&ranks))).collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).collect()
        })
    }

    #[test]
    fn the_rank_that_differs_is_named() {
        let said =
            on_two(|ranks| agree(ranks, "the recipe", ["a", "b"][ranks.rank()]).unwrap_err().to_string());
        for text in said {
            assert!(text.contains("rank 1: expected the recipe a, as on rank 0, found b"), "{text}");
        }
    }

    #[test]
    fn every_rank_gets_the_first_ones_state_bit_for_bit() {
        let device = Device::flex();
        let digests = on_two(|ranks| {
            let mut state = State::default();
            state.set("student", "w", Tensor::from_floats([1.0, -0.0, f32::MIN_POSITIVE / 4.0], &device));
            state.set("heads", "u", Tensor::from_data([0.1_f64], (&device, DType::F64)));
            state.set_number("time", 3);
            let mine = is_first(ranks).then_some((7, state.clone()));
            let (step, got) = from_first(ranks, mine, &device).unwrap();
            (step, got.digest() == state.digest())
        });
        assert_eq!(digests, [(7, true); 2]);
    }

    #[test]
    fn a_run_without_a_checkpoint_starts_afresh_everywhere() {
        assert_eq!(on_two(|ranks| from_first(ranks, None, &Device::flex()).is_none()), [true; 2]);
    }
}
