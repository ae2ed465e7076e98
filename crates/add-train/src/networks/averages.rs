//! What becomes of the averages of a set: networks that follow them, and copies with averaged values.

use std::collections::BTreeMap;

use add_plugin::{Denoiser, Network, TextNetwork, TrainableAutoencoder};

use super::{
    Change, NetworkSet, Role,
    movers::{Mover, moved},
};
use crate::ema::Ema;

impl NetworkSet {
    /// Gives every network that follows another that one's running average.
    pub(super) fn follow(&mut self) {
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

    /// Brings the averages that other ranks keep to those ranks that `want` them, until they are
    /// [released](Self::release_averages). Every rank must be at this place.
    pub fn gather_averages(&mut self, want: bool) {
        for (optimizer, mover) in &mut self.movers {
            if let Some((_, average)) = &mut mover.average
                && average.is_shared()
            {
                average.gather(&moved(&self.members, optimizer), want);
            }
        }
    }

    /// Lets go of the averages that other ranks keep.
    pub fn release_averages(&mut self) {
        self.movers
            .values_mut()
            .filter_map(|mover| mover.average.as_mut())
            .for_each(|(_, average)| average.release());
    }

    /// Gives the denoisers of the roles `to` the averaged values of the denoiser of `role`, each in the type that its own are
    /// held in. Every rank must be at this place.
    pub fn hand_over(&mut self, role: Role, to: &[Role]) {
        self.gather_averages(true);
        let averaged = self.averaged_denoiser(role);
        self.release_averages();
        for &role in to {
            self.replace(role, &*averaged);
        }
    }

    /// Gives the network of `role` the values of `from`, a network of the same shape.
    fn replace(&mut self, role: Role, from: &dyn Network) {
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

    /// Replaces the values of `network` by the averages of the network of `role`, if there are some.
    fn install_average(&self, role: Role, network: &mut dyn Network) {
        let training = self.find(role).and_then(|member| member.change.training());
        let Some(training) = training else { return };
        if let Some((_, average)) = self.movers.get(training.optimizer).and_then(|m| m.average.as_ref()) {
            average.install(training.prefix, network);
        }
    }

    /// The denoiser of `role` with its averaged values, constant on the plain device.
    ///
    /// # Panics
    /// When ranks share the averages and they were not [gathered](Self::gather_averages). The loop of a run does it before a
    /// preview and before the product.
    pub fn averaged_denoiser(&self, role: Role) -> Box<dyn Denoiser> {
        let mut network = self.denoiser(role).frozen();
        self.install_average(role, &mut *network);
        network
    }

    /// The text encoder of `role` with its averaged values where it has some, constant on the plain device.
    ///
    /// # Panics
    /// As [`averaged_denoiser`](Self::averaged_denoiser).
    pub fn averaged_text(&self, role: Role) -> Box<dyn TextNetwork> {
        let mut network = self.text(role).frozen();
        self.install_average(role, &mut *network);
        network
    }

    /// The trained codec of `role` with its averaged values, constant on the plain device.
    ///
    /// # Panics
    /// As [`averaged_denoiser`](Self::averaged_denoiser).
    pub fn averaged_codec(&self, role: Role) -> Box<dyn TrainableAutoencoder> {
        let mut network = self.trained_codec(role).frozen();
        self.install_average(role, &mut *network);
        network
    }

    /// The average that moves with the optimiser `name`, to be set up otherwise than a recipe says.
    pub fn average_mut(&mut self, name: &str) -> Option<&mut Ema> {
        self.movers.get_mut(name).and_then(|mover| mover.average.as_mut()).map(|(_, average)| average)
    }
}
