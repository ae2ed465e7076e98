//! A network of three numbers, whose steps can be worked out by hand.

use add_plugin::{Conditioning, Denoiser, Timesteps};
use add_train::networks::AnyNetwork;
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

    fn frozen(&self) -> Box<dyn Denoiser> {
        Box::new(self.valid())
    }
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
