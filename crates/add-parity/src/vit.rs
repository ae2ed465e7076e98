//! Family `vit`: vision transformers against facebook's own DINO and `DINOv2` code (`hub`), timm, transformers (`hf`)
//! and `StyleGAN-T`'s feature extraction (`sgt`).
//!
//! `cN.<lib>.blockI` are the tokens after layer `I`, before any norm; `cls` and `patch` those after the final norm;
//! `pooler` is `cls` again; `pos` the resized position table with its class row, `pos_plus_cls` the same with the
//! class token added and the registers in their place; `grad.image` is that of `sum(cls * gc) + sum(patch * gp)`.
//! The libraries resize the position table each in its own way ([`PositionResize`]), from the same weights.
//! CLIP: `embeddings`, `blockI`, `last_hidden_state`, `image_embeds`; `grad.image` is that of the sum of the last.
//! `sgt`: pixels in [-1, 1], area resize to the net's size, `ImageNet`'s statistics; `out.feat.K` are patch tokens
//! plus class token after the layers `blocks` and, last, before the first layer; `grad.image` is that of
//! `sum_K sum(feat.K * in.g.K)`.

use std::collections::BTreeMap;

use add_nn::{
    layers::{Activation, Init},
    mobilenet_v2::{IMAGENET_MEAN, IMAGENET_STD},
    vit::{PositionResize, Vit, VitConfig, VitFamily},
};
use add_plugin::Network;
use add_weights::{Loading, Source, WeightsFile, names};
use burn::tensor::{DType, Device, Tensor, module::adaptive_avg_pool2d};
use serde_json::Value;

use crate::{
    Fixture, ParityError, ParityRow,
    row::{Comparison, gradient, nothing},
};

pub(crate) fn run(fixture: &Fixture) -> Result<Vec<ParityRow>, ParityError> {
    let mut rows = Comparison::new(fixture);
    let json: Value = fixture.config()?;
    let weights = fixture.weights()?;
    if json["model_args"].is_object() {
        compare_hub(fixture, &mut rows, &json, &weights)?;
    } else if json["projection_dim"].is_u64() {
        let mut config = from_transformers(&json, VitConfig::clip_l14())?;
        config.family = VitFamily::Clip { projection: size(&json, "projection_dim")? };
        let net = load(config, &names::vit_from_transformers_clip, &weights, fixture.device())?;
        compare_clip(fixture, &mut rows, &net)?;
    } else {
        let base = VitConfig { resize: PositionResize::Cubic, ..VitConfig::dinov2_s14() };
        let config = from_transformers(&json, base)?;
        let net = load(config, &names::vit_from_transformers_dinov2, &weights, fixture.device())?;
        // Its pictures are those of the hub's fixture with the same weights.
        let images = fixture.sibling(fixture.name().trim_end_matches(".hf"))?;
        compare_library(fixture, &mut rows, "hf", &net, &config, &images)?;
    }
    Ok(rows.finish(nothing))
}

/// The hub's code and timm's on the hub's weights.
fn compare_hub(
    fixture: &Fixture,
    rows: &mut Comparison,
    json: &Value,
    weights: &WeightsFile,
) -> Result<(), ParityError> {
    let config = from_hub(json, weights)?;
    let source = names::vit_from_hub;
    let hub = load(config, &source, weights, fixture.device())?;
    compare_library(fixture, rows, "hub", &hub, &config, fixture)?;
    let timm = load(
        VitConfig { resize: PositionResize::Antialiased, ..config },
        &source,
        weights,
        fixture.device(),
    )?;
    compare_library(fixture, rows, "timm", &timm, &config, fixture)?;
    let linear =
        load(VitConfig { resize: PositionResize::Linear, ..config }, &source, weights, fixture.device())?;
    for case in fixture.cases() {
        let key = format!("{case}sgt.pos_bilinear");
        if fixture.has(&key) {
            let grid = grid(&config, fixture, &format!("{case}in.image"))?;
            rows.check(&key, linear.positions(grid).unsqueeze::<3>());
        }
    }
    if fixture.has("sgt.in.image") { compare_style_gan_t(fixture, rows, &linear, &config) } else { Ok(()) }
}

fn compare_library(
    fixture: &Fixture,
    rows: &mut Comparison,
    library: &str,
    net: &Vit,
    config: &VitConfig,
    images: &Fixture,
) -> Result<(), ParityError> {
    for case in images.cases() {
        let image_key = format!("{case}in.image");
        let key = |name: &str| format!("{case}{library}.{name}");
        if !images.has(&image_key) || fixture.keys(&key("")).next().is_none() {
            continue;
        }
        let image = images.leaf::<4>(&image_key, DType::F32)?;
        let grid = grid(config, images, &image_key)?;
        let all = (0..net.depth()).collect::<Vec<_>>();
        let out = net.forward_blocks(image.clone(), &all);
        for (i, state) in out.hooked.into_iter().enumerate() {
            rows.check_if_there(&key(&format!("block{i}")), || state);
        }
        let tokens = net.normalise(out.last);
        let [_, t, _] = tokens.dims();
        let cls: Tensor<2> = tokens.clone().narrow(1, 0, 1).squeeze_dim(1);
        let count = grid[0] * grid[1];
        let patch = tokens.narrow(1, t - count, count);
        rows.check(&key("cls"), cls.clone());
        rows.check_if_there(&key("pooler"), || cls.clone());
        rows.check_if_there(&key("patch"), || patch.clone());
        rows.check_if_there(&key("pos"), || net.positions(grid).unsqueeze::<3>());
        rows.check_if_there(&key("pos_plus_cls"), || placed(net, grid));
        if fixture.has(&key("grad.image")) {
            let gc = fixture.tensor::<2>(&format!("{case}in.gc"), DType::F32)?;
            let gp = fixture.tensor::<3>(&format!("{case}in.gp"), DType::F32)?;
            let gradients = ((cls * gc).sum() + (patch * gp).sum()).backward();
            rows.check(&key("grad.image"), gradient(&image, &gradients));
        }
    }
    Ok(())
}

/// The tokens of a picture without content: class token and positions, registers, positions, `[1, T, C]`.
fn placed(net: &Vit, grid: [usize; 2]) -> Tensor<3> {
    let mut special = BTreeMap::new();
    net.for_each_parameter(&mut |name, shape, value| {
        if ["cls_token", "register_tokens"].contains(&name) {
            let rows = if shape.len() == 2 { shape[0] } else { 1 };
            special.insert(name.to_owned(), value.reshape([rows as i32, -1]));
        }
    });
    let positions = net.positions(grid);
    let [rows, _] = positions.dims();
    let mut parts = vec![positions.clone().narrow(0, 0, 1) + special["cls_token"].clone()];
    parts.extend(special.remove("register_tokens"));
    parts.push(positions.narrow(0, 1, rows - 1));
    Tensor::cat(parts, 0).unsqueeze()
}

fn compare_clip(fixture: &Fixture, rows: &mut Comparison, net: &Vit) -> Result<(), ParityError> {
    for case in fixture.cases() {
        let key = |name: &str| format!("{case}hf.{name}");
        let image = fixture.leaf::<4>(&format!("{case}in.image"), DType::F32)?;
        let all = (0..net.depth()).collect::<Vec<_>>();
        let out = net.forward_blocks(image.clone(), &all);
        for (i, state) in out.hooked.into_iter().enumerate() {
            rows.check_if_there(&key(&format!("block{i}")), || state);
        }
        rows.check(&key("embeddings"), out.embedded);
        rows.check(&key("last_hidden_state"), out.last);
        let embedding = net.image_embedding(image.clone());
        rows.check(&key("image_embeds"), embedding.clone());
        rows.check(&key("grad.image"), gradient(&image, &embedding.sum().backward()));
    }
    Ok(())
}

fn compare_style_gan_t(
    fixture: &Fixture,
    rows: &mut Comparison,
    net: &Vit,
    config: &VitConfig,
) -> Result<(), ParityError> {
    let hooks = &fixture.facts()["blocks"];
    let hooks: Option<Vec<usize>> =
        hooks.as_array().and_then(|all| all.iter().map(|i| i.as_u64().map(|i| i as usize)).collect());
    let wrong = || ParityError::content("blocks", "the hooked layers", &fixture.facts()["blocks"]);
    let hooks = hooks.filter(|hooks| hooks.iter().all(|&i| i < net.depth())).ok_or_else(wrong)?;
    let image = fixture.leaf::<4>("sgt.in.image", DType::F32)?;
    let statistic = |values: [f32; 3]| Tensor::<1>::from_data(values, fixture.device()).reshape([1, 3, 1, 1]);
    let x = adaptive_avg_pool2d((image.clone() + 1.0) / 2.0, [config.image_size; 2]);
    let x = (x - statistic(IMAGENET_MEAN)) / statistic(IMAGENET_STD);
    let out = net.forward_blocks(x, &hooks);
    let mut sum = None;
    for (k, tokens) in out.hooked.into_iter().chain([out.embedded]).enumerate() {
        let [_, t, _] = tokens.dims();
        let feature = (tokens.clone().narrow(1, 1, t - 1) + tokens.narrow(1, 0, 1)).swap_dims(1, 2);
        let term = (feature.clone() * fixture.tensor(&format!("sgt.in.g.{k}"), DType::F32)?).sum();
        sum = Some(sum.map_or(term.clone(), |sum| sum + term));
        rows.check(&format!("sgt.out.feat.{k}"), feature);
    }
    if let Some(sum) = sum {
        rows.check("sgt.grad.image", gradient(&image, &sum.backward()));
    }
    Ok(())
}

/// Patches of a picture, `[rows, columns]`.
fn grid(config: &VitConfig, images: &Fixture, key: &str) -> Result<[usize; 2], ParityError> {
    let shape = images.shape(key)?;
    match shape[..] {
        [_, _, h, w] => Ok([h / config.patch_size, w / config.patch_size]),
        _ => Err(ParityError::content(key, "pictures [B, 3, H, W]", format!("shape {shape:?}"))),
    }
}

fn load(
    config: VitConfig,
    source: &dyn Fn(&str) -> Source,
    weights: &WeightsFile,
    device: &Device,
) -> Result<Vit, ParityError> {
    let net = Vit::new(&config, &Init::new(0, device))?;
    let loading = Loading { source, ignore: &names::is_unused, dtype: DType::F32 };
    Ok(loading.load(net, weights)?)
}

/// A model of facebook's hub, as timm's constructor describes it; layer scales and registers are in the weights.
fn from_hub(json: &Value, weights: &WeightsFile) -> Result<VitConfig, ParityError> {
    let args = &json["model_args"];
    let registers = weights
        .info("register_tokens")
        .map_or(0, |info| info.shape.iter().rev().nth(1).copied().unwrap_or(0));
    let second = weights.tensors().contains_key("blocks.0.ls1.gamma");
    let base = if second { VitConfig::dinov2_s14() } else { VitConfig::dino_s16() };
    let channels = size(args, "embed_dim")?;
    Ok(VitConfig {
        image_size: size(args, "img_size")?,
        patch_size: size(args, "patch_size")?,
        channels,
        depth: size(args, "depth")?,
        heads: size(args, "num_heads")?,
        inner: (channels as f64 * args["mlp_ratio"].as_f64().unwrap_or(4.0)) as usize,
        registers,
        // With registers facebook's own code resizes as timm does.
        resize: if registers > 0 { PositionResize::Antialiased } else { base.resize },
        ..base
    })
}

/// A configuration of transformers on the options of `base` that it does not name.
fn from_transformers(json: &Value, base: VitConfig) -> Result<VitConfig, ParityError> {
    let channels = size(json, "hidden_size")?;
    let ratio = json["mlp_ratio"].as_f64().unwrap_or(4.0);
    let activation = &json["hidden_act"];
    Ok(VitConfig {
        image_size: size(json, "image_size")?,
        patch_size: size(json, "patch_size")?,
        channels,
        depth: size(json, "num_hidden_layers")?,
        heads: size(json, "num_attention_heads")?,
        inner: json["intermediate_size"]
            .as_u64()
            .map_or((channels as f64 * ratio) as usize, |inner| inner as usize),
        activation: serde_json::from_value::<Activation>(activation.clone())
            .map_err(|_| ParityError::content("hidden_act", "gelu or quick_gelu", activation))?,
        eps: json["layer_norm_eps"].as_f64().unwrap_or(base.eps),
        ..base
    })
}

fn size(json: &Value, field: &str) -> Result<usize, ParityError> {
    let value = &json[field];
    value.as_u64().map(|n| n as usize).ok_or_else(|| ParityError::content(field, "a whole number", value))
}
