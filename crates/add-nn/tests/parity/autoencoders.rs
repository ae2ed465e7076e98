//! The autoencoders against diffusers.

use add_nn::{
    autoencoder_kl::{AutoencoderKl, AutoencoderKlConfig},
    autoencoder_tiny::{AutoencoderTiny, AutoencoderTinyConfig},
    layers::Init,
    state::for_each_parameter,
};
use add_weights::{Loading, load_into, names};
use burn::tensor::{DType, Device, Tensor};

use crate::fixture::{Fixture, fixtures};

#[test]
fn autoencoders_equal_diffusers() {
    for mut fixture in fixtures("vae", "vae_") {
        let device = Device::flex();
        let config: AutoencoderKlConfig = serde_json::from_str(&fixture.config).expect("a configuration");
        let fresh = || AutoencoderKl::new(&config, &Init::new(0, &device)).expect("a valid one");
        let net = load_into(fresh(), fixture.weights()).expect("all parameters");
        let image = fixture.input::<4>("in.image", DType::F32, &device);
        fixture.check("out.moments", net.moments(image.clone()));
        let latents = net.encode(image);
        fixture.check("out.mode_scaled", latents.mean.clone() * config.scaling_factor);
        fixture.check("out.std", latents.std());
        fixture.check("out.mean", latents.mean);
        fixture.check("out.logvar", latents.logvar);
        let latent = fixture.input::<4>("in.latent", DType::F32, &device);
        fixture.check("out.decode_scaled", net.decode(latent / config.scaling_factor));
        check_decode(&mut fixture, |latent| net.decode(latent));
        if let Some(file) = fixture.beside(&format!("{}.oldkeys.weights.safetensors", fixture.name)) {
            let source = names::autoencoder_kl_of_2022;
            let old = Loading { source: &source, ignore: &|_| false, dtype: DType::F32 };
            let old = old.load(fresh(), &file).expect("all parameters");
            assert_eq!(values(&old), values(&net), "the same network under its names of 2022");
        }
        fixture.finish(8);
    }
}

#[test]
fn tiny_autoencoders_equal_diffusers() {
    for mut fixture in fixtures("vae", "taesd") {
        let device = Device::flex();
        let config: AutoencoderTinyConfig = serde_json::from_str(&fixture.config).expect("a configuration");
        let net = AutoencoderTiny::new(&config, &Init::new(0, &device)).expect("a valid one");
        let net = load_into(net, fixture.weights()).expect("all parameters");
        fixture.check("out.encode", net.encode(fixture.input("in.image", DType::F32, &device)));
        check_decode(&mut fixture, |latent| net.decode(latent));
        fixture.finish(3);
    }
}

fn check_decode(fixture: &mut Fixture, decode: impl Fn(Tensor<4>) -> Tensor<4>) {
    let device = Device::flex();
    let latent = fixture.leaf::<4>("in.latent", &device);
    let picture = decode(latent.clone());
    let grads = (picture.clone() * fixture.input("in.g", DType::F32, &device)).sum().backward();
    fixture.check("out.decode", picture.inner());
    fixture.check("grad.latent", latent.grad(&grads).expect("a gradient"));
}

fn values(net: &AutoencoderKl) -> Vec<f32> {
    let mut all = Vec::new();
    for_each_parameter(net, &mut |_, _, value| {
        all.extend(value.into_data().try_to_vec::<f32>().expect("f32"));
    });
    all
}
