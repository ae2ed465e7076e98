//! The networks of a run by their role, with what moves the trained ones.
//!
//! A [`NetworkSet`] owns every network of a run, its optimisers and its running averages. So checkpoint, resume, the
//! agreement of ranks and what is exported are the same for every method: they follow from the set.

mod any;
mod averages;
mod change;
mod movers;

use std::{collections::BTreeMap, fmt, rc::Rc};

use add_plugin::{Autoencoder, Denoiser, Discriminator, FeatureExtractor, TextNetwork, TrainableAutoencoder};

use crate::ranks::Collective;
use movers::Mover;

pub use any::AnyNetwork;
pub use change::{Averaging, Change, Training};

/// What a network is in its run: `student`, `teacher`, `heads`. The name is also the one in tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(pub &'static str);

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

#[derive(Debug)]
struct Member {
    role: Role,
    network: AnyNetwork,
    change: Change,
}

/// The networks of a run.
#[derive(Debug, Default)]
pub struct NetworkSet {
    members: Vec<Member>,
    movers: BTreeMap<&'static str, Mover>,
    /// The ranks that share the optimisers' states; `None` where this one keeps all of them.
    sharers: Option<Rc<dyn Collective>>,
    /// The SHA-256 of what stays as it is beside adapters, by what it is.
    bases: BTreeMap<String, String>,
}

impl NetworkSet {
    /// Adds a network; one that is trained lies on the autodiff device. [`start`](Self::start) follows the last.
    pub fn add(&mut self, role: Role, network: AnyNetwork, change: Change) {
        assert!(self.find(role).is_none(), "{role}: a role belongs to one network");
        self.members.push(Member { role, network, change });
    }

    /// The same, for a chain.
    #[must_use]
    pub fn with(mut self, role: Role, network: AnyNetwork, change: Change) -> Self {
        self.add(role, network, change);
        self
    }

    /// Lets `ranks` share the moments and averages, see [`OptimizerStates`](crate::ranks::OptimizerStates);
    /// [`start`](Self::start) follows.
    pub fn share_states(&mut self, ranks: Rc<dyn Collective>) {
        self.sharers = Some(ranks);
    }

    /// Says that `what` stays as it is beside adapters and has this SHA-256.
    pub fn add_base(&mut self, what: String, digest: String) {
        self.bases.insert(what, digest);
    }

    fn find(&self, role: Role) -> Option<&Member> {
        self.members.iter().find(|member| member.role == role)
    }

    /// Every role, in the order in which they were added.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        self.members.iter().map(|member| member.role)
    }

    /// The network of `role`, if the run has one.
    pub fn get(&self, role: Role) -> Option<&AnyNetwork> {
        self.find(role).map(|member| &member.network)
    }

    /// The denoiser of `role`.
    ///
    /// # Panics
    /// Panics when the run has none: a method asks for what its own list of networks states.
    pub fn denoiser(&self, role: Role) -> &(dyn Denoiser + 'static) {
        match self.get(role) {
            Some(AnyNetwork::Denoiser(network)) => &**network,
            other => panic!("{role}: expected a denoiser, found {other:?}"),
        }
    }

    /// The text encoder of `role`.
    ///
    /// # Panics
    /// As [`denoiser`](Self::denoiser).
    pub fn text(&self, role: Role) -> &(dyn TextNetwork + 'static) {
        match self.get(role) {
            Some(AnyNetwork::Text(network)) => &**network,
            other => panic!("{role}: expected a text encoder, found {other:?}"),
        }
    }

    /// The codec of `role`.
    ///
    /// # Panics
    /// As [`denoiser`](Self::denoiser).
    pub fn codec(&self, role: Role) -> &(dyn Autoencoder + 'static) {
        match self.get(role) {
            Some(AnyNetwork::Codec(network)) => &**network,
            other => panic!("{role}: expected a codec, found {other:?}"),
        }
    }

    /// The codec of `role`, which is trained.
    ///
    /// # Panics
    /// As [`denoiser`](Self::denoiser).
    pub fn trained_codec(&self, role: Role) -> &(dyn TrainableAutoencoder + 'static) {
        match self.get(role) {
            Some(AnyNetwork::TrainedCodec(network)) => &**network,
            other => panic!("{role}: expected a codec that is trained, found {other:?}"),
        }
    }

    /// The feature network of `role`.
    ///
    /// # Panics
    /// As [`denoiser`](Self::denoiser).
    pub fn features(&self, role: Role) -> &(dyn FeatureExtractor + 'static) {
        match self.get(role) {
            Some(AnyNetwork::Features(network)) => &**network,
            other => panic!("{role}: expected a feature network, found {other:?}"),
        }
    }

    /// The heads of `role`.
    ///
    /// # Panics
    /// As [`denoiser`](Self::denoiser).
    pub fn heads(&self, role: Role) -> &(dyn Discriminator + 'static) {
        match self.get(role) {
            Some(AnyNetwork::Heads(network)) => &**network,
            other => panic!("{role}: expected heads, found {other:?}"),
        }
    }

    /// The heads of `role`, to be changed.
    ///
    /// # Panics
    /// As [`denoiser`](Self::denoiser).
    pub fn heads_mut(&mut self, role: Role) -> &mut dyn Discriminator {
        let found = self.members.iter_mut().find(|member| member.role == role);
        match found.map(|member| &mut member.network) {
            Some(AnyNetwork::Heads(network)) => &mut **network,
            other => panic!("{role}: expected heads, found {other:?}"),
        }
    }
}
