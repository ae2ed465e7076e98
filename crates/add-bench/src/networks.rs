//! The whole networks of [`cases`](crate::cases), with fresh values, as closures that do their work once.

use add_nn::{
    autoencoder_kl::{AutoencoderKl, AutoencoderKlConfig},
    autoencoder_tiny::{AutoencoderTiny, AutoencoderTinyConfig},
    clip_text::{ClipText, ClipTextConfig},
    config::PerLevel,
    layers::Init,
    unet::{AddedConditions, UNet2dCondition, UnetConfig},
};
use add_plugin::Network;
use add_train::optimizer::{AdamW, AdamWConfig};
use burn::tensor::{DType, Device, Int, Tensor};

use crate::{
    cases::{Codec, Held, Model},
    operations::{Job, random},
};

/// Tokens of a text.
const TOKENS: usize = 77;

fn unet(config: &UnetConfig, device: &Device) -> UNet2dCondition {
    UNet2dCondition::new(config, &Init::new(0, device)).expect("a released configuration holds together")
}

/// A network as the work wants it held.
fn held<N: Network>(mut network: N, held: Held) -> N {
    if held == Held::Bf16 {
        network.map_parameters(&mut |_, _, value| value.cast(DType::BF16));
    }
    network
}

impl Held {
    fn tensor<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::F32 => x,
            Self::Bf16 => x.cast(DType::BF16),
        }
    }
}

/// A forward pass at batch 1 and some timestep.
pub(crate) fn forward(model: Model, latent: usize, as_held: Held) -> Job {
    let device = Device::flex();
    let (config, width, added) = match model {
        Model::Sd15 => (UnetConfig::sd15(), 768, None),
        Model::Sdxl => {
            let text_embeds = as_held.tensor(random([1, 1280], &device));
            let time_ids = Tensor::full([1, 6], 512.0, &device);
            (UnetConfig::sdxl(), 2048, Some(AddedConditions::TextTime { text_embeds, time_ids }))
        }
    };
    let net = held(unet(&config, &device), as_held);
    let (x, text) = (random([1, 4, latent, latent], &device), random([1, TOKENS, width], &device));
    let (x, text) = (as_held.tensor(x), as_held.tensor(text));
    let t = Tensor::full([1], 500.0, &device);
    Box::new(move || drop(net.forward(x.clone(), t.clone(), text.clone(), added.clone())))
}

/// One AdamW step on the mean squared error of a predicted noise; in bf16 with values in f32, as a recipe's `dtype` has it.
pub(crate) fn training_step(as_held: Held) -> Job {
    let device = Device::flex();
    let width = 64;
    let config = UnetConfig {
        block_out_channels: vec![64, 128, 256, 256],
        attention_head_dim: PerLevel::Each(vec![1, 2, 4, 4]),
        cross_attention_dim: PerLevel::All(width),
        ..UnetConfig::sd21()
    };
    let mut net = unet(&config, &device.clone().autodiff());
    let shape = [4, 4, 32, 32];
    let (x, noise, text) =
        (random(shape, &device), random(shape, &device), random([4, TOKENS, width], &device));
    let t = Tensor::from_floats([10.0, 300.0, 600.0, 990.0], &device);
    let mut optimizer = AdamW::new(AdamWConfig::default());
    Box::new(move || {
        let (x, text) = (as_held.tensor(x.clone()), as_held.tensor(text.clone()));
        let error = net.forward(x, t.clone(), text, None).cast(DType::F32) - noise.clone();
        let mut gradients = error.square().mean().backward();
        let gradients = net.take_gradients(&mut gradients);
        optimizer.step(&mut [("", &mut net)], gradients, 1e-5, 1.0);
    })
}

/// Text encoder, U-Net at the last timestep, decoder.
pub(crate) fn one_step_picture(codec: Codec, as_held: Held) -> Job {
    let device = Device::flex();
    let init = Init::new(0, &device);
    // The 23 of OpenCLIP H's 24 layers that SD2.1 and SD-Turbo use.
    let text =
        ClipText::new(&ClipTextConfig::open_clip(1024, 23, 16), &init).expect("a released configuration");
    let text = held(text, as_held);
    let net = held(unet(&UnetConfig::sd21(), &device), as_held);
    let decoder: Box<dyn Fn(Tensor<4>) -> Tensor<4>> = match codec {
        Codec::Kl => {
            let config = AutoencoderKlConfig::default();
            let net = AutoencoderKl::new(&config, &init).expect("a released configuration");
            let net = held(net, as_held);
            Box::new(move |z| net.decode(z / config.scaling_factor))
        }
        Codec::Tiny => {
            let config = AutoencoderTinyConfig::default();
            let net = AutoencoderTiny::new(&config, &init).expect("a released configuration");
            let net = held(net, as_held);
            Box::new(move |z| net.decode(z))
        }
    };
    let ids = Tensor::<2, Int>::ones([1, TOKENS], &device);
    let x: Tensor<4> = as_held.tensor(random([1, 4, 64, 64], &device));
    // alpha and sigma of the released schedule at its last timestep.
    let (alpha, sigma) = (0.068_265, 0.997_667);
    Box::new(move || {
        let states = text.forward(ids.clone()).last_hidden_state;
        let eps = net.forward(x.clone(), Tensor::full([1], 999.0, &device), states, None);
        drop(decoder((x.clone() - eps * sigma) / alpha));
    })
}
