//! What moves the trained networks of a set: their optimisers, with the averages of what these move.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use add_plugin::{Network, for_each_own};

use super::{Averaging, Change, Member, NetworkSet, Training};
use crate::{
    TrainError,
    ema::Ema,
    gradients::{GradientMap, clip_factor, global_norm},
    optimizer::{AdamW, join},
    ranks::{Shards, balanced, kept_values},
    report::StepReport,
    state::State,
};

/// An optimiser with the average of what it moves.
#[derive(Debug)]
pub(super) struct Mover {
    optimizer: AdamW,
    pub(super) average: Option<(Averaging, Ema)>,
    /// Which rank keeps the moments of which tensor.
    shards: Shards,
}

impl NetworkSet {
    /// Makes the optimisers and averages of the networks that were added.
    pub fn start(&mut self) {
        let mut shards = self.shards();
        let trained: Vec<Training> = self.trained().map(|(_, training)| training).collect();
        for Training { optimizer, config, average, .. } in trained {
            if self.movers.contains_key(optimizer) {
                continue;
            }
            let shards = shards.remove(optimizer).unwrap_or_default();
            let networks = moved(&self.members, optimizer);
            let average = average.map(|average| {
                // What follows an average asks for all of it in every step.
                let of_average = if self.is_followed(optimizer) { Shards::default() } else { shards.clone() };
                (average, Ema::sharded(average.half_life, &networks, of_average).at(average.home))
            });
            self.movers.insert(optimizer, Mover { optimizer: AdamW::new(config), average, shards });
        }
    }

    fn trained(&self) -> impl Iterator<Item = (&Member, Training)> {
        self.members.iter().filter_map(|member| Some((member, member.change.training()?)))
    }

    /// Whether a network follows the average that moves with `optimizer`.
    fn is_followed(&self, optimizer: &str) -> bool {
        let moves = |training: Training| training.optimizer == optimizer;
        self.members.iter().any(|member| match member.change {
            Change::Follows(role) => {
                self.find(role).and_then(|followed| followed.change.training()).is_some_and(moves)
            }
            Change::Frozen | Change::Trained(_) | Change::Replaced(_) => false,
        })
    }

    /// Which rank keeps the states of which tensor, by optimiser; they are balanced over all optimisers together.
    fn shards(&self) -> BTreeMap<&'static str, Shards> {
        let Some(ranks) = self.sharers.as_ref().filter(|ranks| ranks.size() > 1) else {
            return BTreeMap::new();
        };
        let (mut tensors, mut sizes) = (Vec::new(), Vec::new());
        for (member, training) in self.trained() {
            let shares_average = training.average.is_some() && !self.is_followed(training.optimizer);
            for_each_own(member.network.network(), &mut |path, shape, _| {
                tensors.push((training.optimizer, join(training.prefix, path)));
                sizes.push(kept_values(shape.iter().product(), shares_average));
            });
        }
        let mut owners: BTreeMap<&'static str, BTreeMap<String, usize>> = BTreeMap::new();
        for ((optimizer, name), owner) in tensors.into_iter().zip(balanced(&sizes, ranks.size())) {
            owners.entry(optimizer).or_default().insert(name, owner);
        }
        owners.into_iter().map(|(name, owners)| (name, Shards::new(Rc::clone(ranks), owners))).collect()
    }

    /// Clips and applies `gradients` to the networks of `optimizer` with learning rate `lr`, and moves their average after a
    /// step of `batch` images; leaves both out where a gradient is not finite. The norm before clipping is reported as `norm`.
    ///
    /// Every rank must be at this place, with the same gradients.
    pub fn update(
        &mut self,
        optimizer: &'static str,
        mut gradients: GradientMap,
        lr: f64,
        batch: usize,
        norm: &'static str,
        report: &mut StepReport,
    ) -> bool {
        let length = global_norm(&gradients);
        report.norm(norm, length);
        if !length.is_finite() {
            return false;
        }
        let mover = self.movers.get_mut(optimizer).expect("an optimiser that a network names");
        let scale = clip_factor(length, mover.optimizer.config().clip_norm);
        let mut networks = moved_mut(&mut self.members, optimizer);
        let updated = mover.shards.are_shared().then(|| gradients.keys().cloned().collect());
        gradients.retain(|name, _| mover.shards.keeps(name));
        mover.optimizer.step(&mut networks, gradients, lr, scale);
        if let Some(updated) = updated {
            spread(&mover.shards, &mut networks, &updated);
        }
        if let Some((_, average)) = &mut mover.average {
            average.update(&moved(&self.members, optimizer), batch);
        }
        self.follow();
        true
    }

    /// Lets the optimiser `name` and its average begin anew from the networks as they are now.
    pub fn restart(&mut self, name: &'static str) {
        self.movers.remove(name);
        self.start();
    }

    /// The hyper-parameters of an optimiser, and the moments that this rank keeps.
    pub fn optimizer(&self, name: &str) -> Option<&AdamW> {
        self.movers.get(name).map(|mover| &mover.optimizer)
    }

    /// Everything that the next step depends on, of the moments and averages what this rank keeps.
    pub fn save(&self, state: &mut State) {
        for (what, digest) in &self.bases {
            state.set_frozen(what, digest);
        }
        for member in &self.members {
            if let Some(file) = member.change.file() {
                state.save_network(file, member.network.network());
            }
        }
        for (name, mover) in &self.movers {
            let mut shard = State::default();
            mover.optimizer.save(name, if mover.shards.are_shared() { &mut shard } else { &mut *state });
            if let Some((averaging, average)) = &mover.average {
                average.save(averaging.file, if average.is_shared() { &mut shard } else { &mut *state });
            }
            state.insert_shard(shard);
        }
    }

    /// Whether this rank needs the tensor `name` in the file `group` of a checkpoint.
    pub fn keeps(&self, group: &str, name: &str) -> bool {
        self.movers.iter().all(|(optimizer, mover)| {
            let average = mover.average.as_ref().filter(|(averaging, _)| averaging.file == group);
            let keeps_average = average.is_none_or(|(_, average)| average.keeps(name));
            keeps_average && (*optimizer != group || mover.shards.keeps(AdamW::tensor_of(name)))
        })
    }

    /// Restores what [`save`](Self::save) stored; of moments and averages what this rank [`keeps`](Self::keeps) is enough.
    ///
    /// # Errors
    /// When something is missing, or adapters were trained beside another base.
    pub fn load(&mut self, state: &State) -> Result<(), TrainError> {
        for (what, digest) in &self.bases {
            state.check_frozen(what, digest)?;
        }
        for member in &mut self.members {
            if let Some(file) = member.change.file() {
                state.load_network(file, member.network.network_mut())?;
            }
        }
        for (name, mover) in &mut self.movers {
            mover.optimizer.load(name, state)?;
            if let Some((averaging, average)) = &mut mover.average {
                average.load(averaging.file, state)?;
            }
        }
        self.follow();
        Ok(())
    }
}

/// The networks that `optimizer` moves, by their prefixes.
pub(super) fn moved<'m>(members: &'m [Member], optimizer: &str) -> Vec<(&'static str, &'m dyn Network)> {
    let moved = |member: &'m Member| {
        let training = member.change.training().filter(|training| training.optimizer == optimizer)?;
        Some((training.prefix, member.network.network()))
    };
    members.iter().filter_map(moved).collect()
}

/// The same, to be changed.
fn moved_mut<'m>(members: &'m mut [Member], optimizer: &str) -> Vec<(&'static str, &'m mut dyn Network)> {
    let moved = |member: &'m mut Member| {
        let training = member.change.training().filter(|training| training.optimizer == optimizer)?;
        Some((training.prefix, member.network.network_mut()))
    };
    members.iter_mut().filter_map(moved).collect()
}

/// Gives every rank the `updated` values of those that keep their states.
fn spread(shards: &Shards, networks: &mut [(&str, &mut dyn Network)], updated: &BTreeSet<String>) {
    for (prefix, network) in networks {
        network.map_parameters(&mut |path, _, value| {
            let name = join(prefix, path);
            if updated.contains(&name) { shards.spread(&name, value) } else { value }
        });
    }
}
