//! Family `unet`: U-Nets of Stable Diffusion 1.5, 2.1 and XL against diffusers' `UNet2DConditionModel`.
//!
//! `cN.out.sample` from `cN.in.{sample, timestep, encoder_hidden_states}` (SDXL: `text_embeds` and `time_ids`
//! too; with `time_cond_proj_dim`, the guidance scale `guidance`; with a mask over the text, `encoder_attention_mask`),
//! the states `cN.act.<module>` after the parts that the network shows, and the gradients of `sum(out * cN.in.g)` by
//! the sample, the text states and any parameter, under diffusers' names. Everything in f32 and in f64; the angles of
//! the timestep in f32 both times, as diffusers has them whatever the network's type is.

use std::collections::BTreeMap;

use add_nn::{
    layers::Init,
    probe::Probe,
    unet::{AddedConditions, UNet2dCondition, UnetConditions, UnetConfig},
};
use add_plugin::Network;
use add_weights::{Loading, Source};
use burn::tensor::DType;

use crate::{
    Fixture, ParityError, ParityRow,
    row::{Comparison, NO_F64, Tolerance, gradient},
};

/// Tolerance of the sinusoids: the last place of a frequency in f32, times a timestep of some hundreds.
const ANGLES: Tolerance = Tolerance::Relative { part: 2e-5, floor: 0.0 };

pub(crate) fn run(fixture: &Fixture) -> Result<Vec<ParityRow>, ParityError> {
    let mut rows = Comparison::new(fixture);
    compare(fixture, &mut rows, DType::F32)?;
    rows.label(" in f64");
    match fixture.wide() {
        DType::F64 => compare(fixture, &mut rows, DType::F64)?,
        _ => rows.skip("all tensors", NO_F64),
    }
    let inner =
        |key: &str| key.contains("act.").then(|| "an inner state that the network does not show".into());
    Ok(rows.finish(inner))
}

fn compare(fixture: &Fixture, rows: &mut Comparison, dtype: DType) -> Result<(), ParityError> {
    let config: UnetConfig = fixture.config()?;
    let net = UNet2dCondition::new(&config, &Init::new(0, &fixture.device().clone().autodiff()))?;
    let loading = Loading { source: &|name| Source::Whole(name.to_owned()), ignore: &|_| false, dtype };
    let net = loading.load(net, &fixture.weights()?)?;
    for case in fixture.cases() {
        let key = |name: &str| format!("{case}{name}");
        let sample = fixture.leaf::<4>(&key("in.sample"), dtype)?;
        let text = fixture.leaf::<3>(&key("in.encoder_hidden_states"), dtype)?;
        let timestep = fixture.tensor::<1>(&key("in.timestep"), DType::F32)?;
        let guidance = key("in.guidance");
        let mask = key("in.encoder_attention_mask");
        let conditions = UnetConditions {
            added: added_conditions(fixture, &case, dtype)?,
            guidance: fixture.has(&guidance).then(|| fixture.tensor(&guidance, DType::F32)).transpose()?,
            mask: fixture.has(&mask).then(|| fixture.tensor(&mask, DType::F32)).transpose()?,
        };
        let mut states = BTreeMap::new();
        let mut see = |name: &str, state| {
            states.insert(format!("{case}act.{name}"), state);
        };
        let out =
            net.forward_probed(sample.clone(), timestep, text.clone(), conditions, &mut Probe::new(&mut see));
        let mut grads = (out.clone() * fixture.tensor(&key("in.g"), dtype)?).sum().backward();
        rows.check(&key("out.sample"), out);
        rows.check(&key("grad.sample"), gradient(&sample, &grads));
        rows.check(&key("grad.encoder_hidden_states"), gradient(&text, &grads));
        let by_parameter = net.take_gradients(&mut grads);
        states.extend(by_parameter.into_iter().map(|(name, g)| (format!("{case}grad.{name}"), g)));
        for (key, state) in states {
            if key.ends_with("time_proj") && fixture.has(&key) {
                rows.check_tensor(&key, state, ANGLES);
            } else {
                rows.check_if_there(&key, || state);
            }
        }
    }
    Ok(())
}

/// SDXL's further inputs, where the fixture's case has them.
pub(crate) fn added_conditions(
    fixture: &Fixture,
    case: &str,
    dtype: DType,
) -> Result<Option<AddedConditions>, ParityError> {
    let text_embeds = format!("{case}in.text_embeds");
    if !fixture.has(&text_embeds) {
        return Ok(None);
    }
    Ok(Some(AddedConditions::TextTime {
        text_embeds: fixture.tensor(&text_embeds, dtype)?,
        time_ids: fixture.tensor(&format!("{case}in.time_ids"), DType::F32)?,
    }))
}
