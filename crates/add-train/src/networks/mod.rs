//! The networks of a run by their role, with what moves the trained ones.
//!
//! A [`NetworkSet`] owns every network of a run, its optimisers and its running averages. So checkpoint, resume, the
//! agreement of ranks and what is exported are the same for every method: they follow from the set.

mod any;
mod change;

use std::{collections::BTreeMap, fmt};

use add_plugin::{
    Autoencoder, Denoiser, Discriminator, FeatureExtractor, Network, TextNetwork, TrainableAutoencoder,
};

use crate::{
    TrainError,
    ema::Ema,
    gradients::{GradientMap, clip_factor, global_norm},
    optimizer::AdamW,
    report::StepReport,
    state::State,
};

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

/// An optimiser with the average of what it moves.
#[derive(Debug)]
struct Mover {
    optimizer: AdamW,
    average: Option<(Averaging, Ema)>,
}

/// The networks of a run.
#[derive(Debug, Default)]
pub struct NetworkSet {
    members: Vec<Member>,
    movers: BTreeMap<&'static str, Mover>,
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

    /// Says that `what` stays as it is beside adapters and has this SHA-256.
    pub fn add_base(&mut self, what: String, digest: String) {
        self.bases.insert(what, digest);
    }

    /// Makes the optimisers and averages of the networks that were added.
    pub fn start(&mut self) {
        let names: Vec<&'static str> = self.trained().map(|(_, training)| training.optimizer).collect();
        for name in names {
            if self.movers.contains_key(name) {
                continue;
            }
            let own: Vec<_> = self.trained().filter(|(_, training)| training.optimizer == name).collect();
            let first = own[0].1;
            let average = first.average.map(|average| {
                let networks: Vec<(&str, &dyn Network)> = own
                    .iter()
                    .map(|(member, training)| (training.prefix, member.network.network()))
                    .collect();
                (average, Ema::new(average.half_life, &networks).at(average.home))
            });
            self.movers.insert(name, Mover { optimizer: AdamW::new(first.config), average });
        }
    }

    fn trained(&self) -> impl Iterator<Item = (&Member, Training)> {
        self.members.iter().filter_map(|member| Some((member, member.change.training()?)))
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

    /// Clips and applies `gradients` to the networks of `optimizer` with learning rate `lr`, and moves their average after a
    /// step of `batch` images; leaves both out where a gradient is not finite. The norm before clipping is reported as `norm`.
    pub fn update(
        &mut self,
        optimizer: &'static str,
        gradients: GradientMap,
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
        let own = |change: Change| change.training().filter(|training| training.optimizer == optimizer);
        let mut networks: Vec<(&str, &mut dyn Network)> = self
            .members
            .iter_mut()
            .filter_map(|member| Some((own(member.change)?.prefix, member.network.network_mut())))
            .collect();
        mover.optimizer.step(&mut networks, gradients, lr, scale);
        if let Some((_, average)) = &mut mover.average {
            let networks: Vec<(&str, &dyn Network)> = self
                .members
                .iter()
                .filter_map(|member| Some((own(member.change)?.prefix, member.network.network())))
                .collect();
            average.update(&networks, batch);
        }
        self.follow();
        true
    }

    /// Gives every network that follows another that one's running average.
    fn follow(&mut self) {
        for i in 0..self.members.len() {
            if let Change::Follows(role) = self.members[i].change {
                let average = self.find(role).and_then(|member| member.change.training());
                let mover =
                    average.and_then(|training| Some((training, self.movers.get(training.optimizer)?)));
                if let Some((training, Mover { average: Some((_, average)), .. })) = mover {
                    average.install(training.prefix, self.members[i].network.network_mut());
                }
            }
        }
    }

    /// Gives the network of `role` the values of `from`, a network of the same shape, in the type that its own are held in.
    pub fn replace(&mut self, role: Role, from: &dyn Network) {
        let mut values = BTreeMap::new();
        from.for_each_parameter(&mut |path, _, value| {
            values.insert(path.to_owned(), value);
        });
        let member = self.members.iter_mut().find(|member| member.role == role);
        let member = member.expect("a method replaces a network that its list states");
        member.network.network_mut().map_parameters(&mut |path, _, old| match values.remove(path) {
            Some(value) => value.to_device(&old.device()).cast(old.dtype()),
            None => old,
        });
    }

    /// Lets the optimiser `name` and its average begin anew from the networks as they are now.
    pub fn restart(&mut self, name: &'static str) {
        self.movers.remove(name);
        self.start();
    }

    /// Replaces the values of `network` by the averages of the network of `role`, if there are some.
    pub fn install_average(&self, role: Role, network: &mut dyn Network) {
        let training = self.find(role).and_then(|member| member.change.training());
        let Some(training) = training else { return };
        if let Some((_, average)) = self.movers.get(training.optimizer).and_then(|m| m.average.as_ref()) {
            average.install(training.prefix, network);
        }
    }

    /// The denoiser of `role` with its averaged values, constant on the plain device.
    pub fn averaged_denoiser(&self, role: Role) -> Box<dyn Denoiser> {
        let mut network = self.denoiser(role).frozen();
        self.install_average(role, &mut *network);
        network
    }

    /// The text encoder of `role` with its averaged values where it has some, constant on the plain device.
    pub fn averaged_text(&self, role: Role) -> Box<dyn TextNetwork> {
        let mut network = self.text(role).frozen();
        self.install_average(role, &mut *network);
        network
    }

    /// The trained codec of `role` with its averaged values, constant on the plain device.
    pub fn averaged_codec(&self, role: Role) -> Box<dyn TrainableAutoencoder> {
        let mut network = self.trained_codec(role).frozen();
        self.install_average(role, &mut *network);
        network
    }

    /// The hyper-parameters and moments of an optimiser.
    pub fn optimizer(&self, name: &str) -> Option<&AdamW> {
        self.movers.get(name).map(|mover| &mover.optimizer)
    }

    /// The average that moves with the optimiser `name`, to be set up otherwise than a recipe says.
    pub fn average_mut(&mut self, name: &str) -> Option<&mut Ema> {
        self.movers.get_mut(name).and_then(|mover| mover.average.as_mut()).map(|(_, average)| average)
    }

    /// Everything that the next step depends on.
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
            mover.optimizer.save(name, state);
            if let Some((averaging, average)) = &mover.average {
                average.save(averaging.file, state);
            }
        }
    }

    /// Restores what [`save`](Self::save) stored.
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
