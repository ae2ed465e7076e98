//! What all ranks must have in common, and how they come by it.

use std::collections::BTreeMap;

use add_weights::NamedTensor;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{
    Collective,
    gathered::{TensorOutline, bytes},
};
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

/// Refuses a rank whose `state` is not the first rank's, bit for bit; what one rank alone has is left out.
///
/// # Errors
/// On every rank, naming the first rank that differs.
pub(crate) fn agree_on_state(ranks: &dyn Collective, step: u64, state: &State) -> Result<(), TrainError> {
    if ranks.size() == 1 {
        return Ok(());
    }
    agree(ranks, &format!("the SHA-256 of networks and optimisers after step {step},"), &state.digest())
}

/// A state without its values.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Outline {
    step: u64,
    numbers: BTreeMap<String, u64>,
    frozen: BTreeMap<String, String>,
    tensors: Vec<TensorOutline>,
}

/// The first rank's `resumed` steps and state, on every rank; its files need not be there for the others to read. Of the tensors
/// each rank gets those for whose group and name `keeps` holds.
pub(crate) fn from_first(
    ranks: &dyn Collective,
    resumed: Option<(u64, State)>,
    device: &Device,
    keeps: &dyn Fn(&str, &str) -> bool,
) -> Option<(u64, State)> {
    if ranks.size() == 1 {
        return resumed;
    }
    let outline = resumed.as_ref().map(|(step, state)| Outline::of(*step, state));
    let text = serde_json::to_vec(&outline).expect("an outline holds nothing that JSON cannot");
    let text = ranks.broadcast(0, text);
    let outline: Option<Outline> = serde_json::from_slice(&text).expect("the first rank sends an outline");
    let Outline { step, numbers, frozen, tensors } = outline?;
    let mut state = State::default();
    for (name, value) in numbers {
        state.set_number(&name, value);
    }
    for (what, digest) in frozen {
        state.set_frozen(&what, &digest);
    }
    for outline in tensors {
        let TensorOutline { group, name, shape, .. } = &outline;
        let mine = resumed.as_ref().and_then(|(_, state)| state.get(group, name).ok());
        let sent = ranks.broadcast(0, mine.map_or_else(Vec::new, bytes));
        if keeps(group, name) {
            let values = outline.tensor(sent, device);
            state.insert(group, name, NamedTensor { shape: shape.clone(), values });
        }
    }
    Some((step, state))
}

impl Outline {
    fn of(step: u64, state: &State) -> Self {
        let (numbers, frozen) = (state.numbers().clone(), state.frozen().clone());
        Self { step, numbers, frozen, tensors: TensorOutline::all(state.groups()) }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Tensor};

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
            let (step, got) = from_first(ranks, mine, &device, &|_, _| true).unwrap();
            (step, got.digest() == state.digest())
        });
        assert_eq!(digests, [(7, true); 2]);
    }

    #[test]
    fn a_run_without_a_checkpoint_starts_afresh_everywhere() {
        assert_eq!(
            on_two(|ranks| from_first(ranks, None, &Device::flex(), &|_, _| true).is_none()),
            [true; 2]
        );
    }
}
