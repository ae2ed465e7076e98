//! Family `vae`: the autoencoders against diffusers' `AutoencoderKL` and `AutoencoderTiny`.
//!
//! `out.moments` are mean and logarithm of the variance before its clamp, `out.mean`, `out.logvar`, `out.std` after
//! it, `out.mode_scaled` the mean times the scaling factor; `out.decode` takes the latent as it is,
//! `out.decode_scaled` divided by the factor; `grad.latent` is that of `sum(decode * in.g)`. The weights of
//! `<name>.oldkeys.weights.safetensors`, under the key names of 2022, must give the same network.
//! The tiny one has `out.encode`, and `out.encode_scaled_0_1`, which is stored in pictures.

use add_nn::{
    autoencoder_kl::{AutoencoderKl, AutoencoderKlConfig},
    autoencoder_tiny::{AutoencoderTiny, AutoencoderTinyConfig},
    layers::Init,
};
use add_plugin::Network;
use add_weights::{Loading, load_into, names};
use burn::tensor::{DType, Tensor};
use serde_json::Value;

use crate::{
    Fixture, ParityError, ParityRow,
    row::{Comparison, gradient, largest_difference, values},
};

pub(crate) fn run(fixture: &Fixture) -> Result<Vec<ParityRow>, ParityError> {
    let mut rows = Comparison::new(fixture);
    let config: Value = fixture.config()?;
    if config["_class_name"] == "AutoencoderTiny" {
        compare_tiny(fixture, &mut rows)?;
    } else {
        compare_kl(fixture, &mut rows)?;
    }
    Ok(rows.finish(|key| key.starts_with("act.").then(|| "the autoencoders show no inner state".into())))
}

fn compare_kl(fixture: &Fixture, rows: &mut Comparison) -> Result<(), ParityError> {
    let config: AutoencoderKlConfig = fixture.config()?;
    let fresh = || AutoencoderKl::new(&config, &Init::new(0, fixture.device()));
    let net = load_into(fresh()?, &fixture.weights()?)?;
    let image = fixture.tensor::<4>("in.image", DType::F32)?;
    rows.check("out.moments", net.moments(image.clone()));
    let latents = net.encode(image);
    rows.check("out.mode_scaled", latents.mean.clone() * config.scaling_factor);
    rows.check("out.std", latents.std());
    rows.check("out.mean", latents.mean);
    rows.check("out.logvar", latents.logvar);
    let latent = fixture.tensor::<4>("in.latent", DType::F32)?;
    rows.check("out.decode_scaled", net.decode(latent / config.scaling_factor));
    compare_decoder(fixture, rows, |latent| net.decode(latent))?;
    let old = format!("{}.oldkeys.weights.safetensors", fixture.name());
    if let Some(file) = fixture.tensors_beside(&old)? {
        let source = names::autoencoder_kl_of_2022;
        let loading = Loading { source: &source, ignore: &|_| false, dtype: DType::F32 };
        let (old_net, net) = (parameters(&loading.load(fresh()?, &file)?), parameters(&net));
        rows.record(&old, largest_difference(&old_net, &net), 0.0);
    }
    Ok(())
}

fn compare_tiny(fixture: &Fixture, rows: &mut Comparison) -> Result<(), ParityError> {
    let config: AutoencoderTinyConfig = fixture.config()?;
    let net = AutoencoderTiny::new(&config, &Init::new(0, fixture.device()))?;
    let net = load_into(net, &fixture.weights()?)?;
    let latent = net.encode(fixture.tensor("in.image", DType::F32)?);
    rows.check("out.encode", latent.clone());
    let field = |name: &str, default: f64| config.other.get(name).and_then(Value::as_f64).unwrap_or(default);
    let (magnitude, shift) = (field("latent_magnitude", 3.0), field("latent_shift", 0.5));
    rows.check_if_there("out.encode_scaled_0_1", || (latent / (2.0 * magnitude) + shift).clamp(0.0, 1.0));
    compare_decoder(fixture, rows, |latent| net.decode(latent))
}

fn compare_decoder(
    fixture: &Fixture,
    rows: &mut Comparison,
    decode: impl Fn(Tensor<4>) -> Tensor<4>,
) -> Result<(), ParityError> {
    let latent = fixture.leaf::<4>("in.latent", DType::F32)?;
    let picture = decode(latent.clone());
    let gradients = (picture.clone() * fixture.tensor("in.g", DType::F32)?).sum().backward();
    rows.check("out.decode", picture);
    rows.check("grad.latent", gradient(&latent, &gradients));
    Ok(())
}

fn parameters(net: &AutoencoderKl) -> Vec<f64> {
    let mut all = Vec::new();
    net.for_each_parameter(&mut |_, _, value| all.extend(values(value)));
    all
}
