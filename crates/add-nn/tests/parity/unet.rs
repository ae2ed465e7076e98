//! The U-Net against diffusers: outputs, states and gradients, in single and double precision.

use std::collections::BTreeMap;

use add_nn::{
    layers::Init,
    probe::Probe,
    state::gradients,
    unet::{AddedConditions, UNet2dCondition, UnetConfig},
};
use add_weights::{Loading, Source};
use burn::tensor::{DType, Device};

use crate::fixture::{Fixture, fixtures};

#[test]
fn unets_equal_diffusers_in_single_precision() {
    for fixture in fixtures("unet", "unet_") {
        compare(fixture, DType::F32);
    }
}

#[test]
fn unets_equal_diffusers_in_double_precision() {
    for fixture in fixtures("unet", "unet_") {
        compare(fixture, DType::F64);
    }
}

fn compare(mut fixture: Fixture, dtype: DType) {
    let device = Device::flex();
    let config: UnetConfig = serde_json::from_str(&fixture.config).expect("a configuration");
    let net = UNet2dCondition::new(&config, &Init::new(0, &device.clone().autodiff())).expect("a valid one");
    let loading = Loading { source: &|name| Source::Whole(name.to_owned()), ignore: &|_| false, dtype };
    let net = loading.load(net, fixture.weights()).expect("all parameters");
    for case in fixture.cases() {
        let key = |name: &str| format!("{case}{name}");
        let sample = fixture.input::<4>(&key("in.sample"), dtype, &device).autodiff().require_grad();
        let text =
            fixture.input::<3>(&key("in.encoder_hidden_states"), dtype, &device).autodiff().require_grad();
        let timestep = fixture.input::<1>(&key("in.timestep"), dtype, &device);
        let added = fixture.has(&key("in.text_embeds")).then(|| AddedConditions::TextTime {
            text_embeds: fixture.input(&key("in.text_embeds"), dtype, &device),
            time_ids: fixture.input(&key("in.time_ids"), dtype, &device),
        });
        let mut states = BTreeMap::new();
        let mut see = |name: &str, state| {
            states.insert(format!("{case}act.{name}"), state);
        };
        let out =
            net.forward_probed(sample.clone(), timestep, text.clone(), added, &mut Probe::new(&mut see));
        let g = fixture.input::<4>(&key("in.g"), dtype, &device);
        let mut grads = (out.clone() * g).sum().backward();
        fixture.check(&key("out.sample"), out.inner());
        fixture.check(&key("grad.sample"), sample.grad(&grads).expect("a gradient"));
        fixture.check(&key("grad.encoder_hidden_states"), text.grad(&grads).expect("a gradient"));
        states.extend(
            gradients(&net, &mut grads).into_iter().map(|(name, g)| (format!("{case}grad.{name}"), g)),
        );
        for (key, state) in states {
            // The f64 network takes its angles in f64, diffusers in f32 whatever its type: another number.
            let embedded = ["act.time_", "act.add_"].iter().any(|part| key.contains(part));
            if fixture.has(&key) && !(embedded && dtype == DType::F64) {
                fixture.check(&key, state);
            }
        }
    }
    fixture.finish(9);
}
