//! What of the optimisers' states the fullest of several ranks keeps.

use add_train::ranks::{balanced, kept_values};

use super::Costed;

/// The share of each network's moments that is kept by the rank that keeps most, as a run shares them out.
pub(super) fn of_fullest(networks: &[Costed], ranks: usize) -> Vec<f64> {
    let averages = |network: &Costed| network.average.is_some() && !network.is_followed;
    let sizes = |network: &Costed| -> Vec<usize> {
        network.tensors.iter().map(|&values| kept_values(values, averages(network))).collect()
    };
    let all: Vec<Vec<usize>> = networks.iter().map(sizes).collect();
    let owners = balanced(&all.concat(), ranks);
    let kept = |rank: usize| -> Vec<usize> {
        let mut owners = owners.iter();
        let own = |sizes: &Vec<usize>| {
            sizes.iter().zip(owners.by_ref()).filter(|(_, owner)| **owner == rank).map(|(size, _)| size).sum()
        };
        all.iter().map(own).collect()
    };
    let fullest = (0..ranks).map(kept).max_by_key(|kept| kept.iter().sum::<usize>()).unwrap_or_default();
    let share = |(kept, sizes): (usize, &Vec<usize>)| kept as f64 / sizes.iter().sum::<usize>().max(1) as f64;
    fullest.into_iter().zip(&all).map(share).collect()
}
