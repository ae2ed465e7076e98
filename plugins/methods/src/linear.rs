//! Networks of a few numbers, whose steps can be worked out by hand.

use add_plugin::{Conditioning, Denoiser, Discriminator, Logits, PluginError, Tangent, Timesteps};
use add_train::networks::{AnyNetwork, NetworkSet, Role};
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};

/// `p_0 x + p_1 c + p_2 w` of a caption and a guidance scale; without a scale the last term is left out.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    p: Param<Tensor<1>>,
}

impl Linear {
    pub(crate) fn on(device: &Device, p: [f32; 3]) -> AnyNetwork {
        let p = Tensor::from_floats(p, device);
        AnyNetwork::Denoiser(Box::new(Self { p: Param::from_tensor(p) }))
    }
}

impl Denoiser for Linear {
    fn predict(&self, x_t: Tensor<4>, _: &Timesteps, conditioning: &Conditioning) -> Tensor<4> {
        let p = |i: usize| self.p.val().narrow(0, i, 1).reshape([1, 1, 1, 1]);
        let batch = x_t.dims()[0];
        let caption = conditioning.pooled.clone().reshape([batch, 1, 1, 1]);
        let output = x_t.clone() * p(0) + caption * p(1);
        match &conditioning.guidance {
            Some(scales) => output + add_plugin::per_sample(scales, &x_t) * p(2),
            None => output,
        }
    }

    fn takes_guidance(&self) -> bool {
        true
    }

    /// Its output, whatever the blocks are called.
    fn features(
        &self,
        x_t: Tensor<4>,
        t: &Timesteps,
        conditioning: &Conditioning,
        _: &[String],
    ) -> Result<Vec<Tensor<3>>, PluginError> {
        Ok(vec![self.predict(x_t, t, conditioning).flatten(2, 3)])
    }

    fn frozen(&self) -> Box<dyn Denoiser> {
        Box::new(self.valid())
    }
}

/// `q_0 h + q_1` of each token of a feature of one channel.
#[derive(Module, Debug)]
pub(crate) struct LinearHead {
    q: Param<Tensor<1>>,
}

impl LinearHead {
    pub(crate) fn on(device: &Device, q: [f32; 2]) -> AnyNetwork {
        AnyNetwork::Heads(Box::new(Self { q: Param::from_tensor(Tensor::from_floats(q, device)) }))
    }
}

impl Discriminator for LinearHead {
    fn power_iterate(&mut self) {}

    fn logits(&self, features: &[Tensor<3>], _: Option<Tensor<2>>) -> Vec<Logits> {
        let q = |i: usize| self.q.val().narrow(0, i, 1).reshape([1, 1]);
        let logits = |h: &Tensor<3>| Logits(h.clone().squeeze_dim::<2>(1) * q(0) + q(1));
        features.iter().map(logits).collect()
    }

    fn tangent(&self, _: &[Tensor<3>], _: &[Tensor<3>], _: Option<Tensor<2>>) -> Option<Vec<Tangent>> {
        None
    }

    fn check_batch(&self, _: usize) -> Result<(), PluginError> {
        Ok(())
    }

    fn frozen(&self) -> Box<dyn Discriminator> {
        Box::new(self.valid())
    }
}

/// The values of the network of `role`, in the order of its parameters.
pub(crate) fn values(networks: &NetworkSet, role: Role) -> Vec<f64> {
    let mut all = Vec::new();
    let network = networks.get(role).expect("a network of the run").network();
    network.for_each_parameter(&mut |_, _, value| all.extend(value.into_data().iter::<f64>()));
    all
}

/// Captions of one number each.
pub(crate) fn captions(values: &[f32]) -> Conditioning {
    let device = Device::flex();
    let batch = values.len();
    let pooled = Tensor::from_data(TensorData::new(values.to_vec(), [batch, 1]), &device);
    Conditioning::new(Tensor::zeros([batch, 1, 1], &device), pooled)
}

/// Two pictures of two pixels each.
pub(crate) fn pictures(rows: [[f32; 2]; 2]) -> Tensor<4> {
    Tensor::<2>::from_floats(rows, &Device::flex()).reshape([2, 1, 1, 2])
}
