//! The vision transformers against facebook's own code, timm, transformers and `StyleGAN-T`'s feature extraction.

use add_nn::{
    layers::{Activation, Init},
    mobilenet_v2::{IMAGENET_MEAN, IMAGENET_STD},
    vit::{PositionResize, Vit, VitConfig, VitFamily},
};
use add_weights::{Loading, Source, WeightsFile, names};
use burn::tensor::{DType, Device, Tensor, module::adaptive_avg_pool2d};
use serde_json::Value;

use crate::fixture::{Fixture, fixtures};

#[test]
fn dino_equals_its_own_code_and_timm() {
    for mut fixture in fixtures("vit", "dino").into_iter().filter(|fixture| !from_transformers(fixture)) {
        let json: Value = serde_json::from_str(&fixture.config).expect("JSON");
        let config = hub_config(&json);
        let source = names::vit_from_hub;
        let hub = load(config, &source, &fixture);
        compare(&mut fixture, "hub", &hub);
        let antialiased = VitConfig { resize: PositionResize::Antialiased, ..config };
        let timm = load(antialiased, &source, &fixture);
        compare(&mut fixture, "timm", &timm);
        if fixture.has("sgt.in.image") {
            let linear = load(VitConfig { resize: PositionResize::Linear, ..config }, &source, &fixture);
            // The second case's pictures are 40 x 48 pixels in patches of 4.
            fixture.check("c1.sgt.pos_bilinear", linear.positions([10, 12]).unsqueeze::<3>());
            compare_style_gan_t(&mut fixture, &linear);
        }
        fixture.finish(6);
    }
}

#[test]
fn dinov2_equals_transformers() {
    let all = fixtures("vit", "dinov2");
    for mut fixture in fixtures("vit", "dinov2").into_iter().filter(from_transformers) {
        let json: Value = serde_json::from_str(&fixture.config).expect("JSON");
        let base = VitConfig { resize: PositionResize::Cubic, ..VitConfig::dinov2_s14() };
        let config = transformers_config(&json, base);
        let images = fixture.name.trim_end_matches(".hf").to_owned();
        let images = all.iter().find(|other| other.name == images).expect("the same name without .hf");
        let net = load(config, &names::vit_from_transformers_dinov2, &fixture);
        compare_with(&mut fixture, "hf", &net, &images.io);
        fixture.finish(8);
    }
}

#[test]
fn clip_towers_equal_transformers() {
    for mut fixture in fixtures("vit", "clip") {
        let device = Device::flex();
        let json: Value = serde_json::from_str(&fixture.config).expect("JSON");
        let mut config = transformers_config(&json, VitConfig::clip_l14());
        config.family = VitFamily::Clip { projection: size(&json, "projection_dim") };
        let net = load(config, &names::vit_from_transformers_clip, &fixture);
        for case in fixture.cases() {
            let image = fixture.leaf::<4>(&format!("{case}in.image"), &device);
            let all = (0..net.depth()).collect::<Vec<_>>();
            let out = net.forward_blocks(image.clone(), &all);
            for (i, state) in out.hooked.into_iter().enumerate() {
                let key = format!("{case}hf.block{i}");
                if fixture.has(&key) {
                    fixture.check(&key, state.inner());
                }
            }
            fixture.check(&format!("{case}hf.embeddings"), out.embedded.inner());
            fixture.check(&format!("{case}hf.last_hidden_state"), out.last.inner());
            let embedding = net.image_embedding(image.clone());
            fixture.check(&format!("{case}hf.image_embeds"), embedding.clone().inner());
            let grads = embedding.sum().backward();
            fixture.check(&format!("{case}hf.grad.image"), image.grad(&grads).expect("a gradient"));
        }
        fixture.finish(5);
    }
}

/// Their fixtures are `<name>.hf`, beside those of facebook's code with the same weights.
fn from_transformers(fixture: &Fixture) -> bool {
    fixture.name.strip_suffix(".hf").is_some()
}

fn compare(fixture: &mut Fixture, library: &str, net: &Vit) {
    let images = fixture.beside(&format!("{}.io.safetensors", fixture.name)).expect("the fixture itself");
    compare_with(fixture, library, net, &images);
}

fn compare_with(fixture: &mut Fixture, library: &str, net: &Vit, images: &WeightsFile) {
    let device = Device::flex();
    for n in 0.. {
        let case = format!("c{n}.");
        let Ok(info) = images.info(&format!("{case}in.image")) else { break };
        let shape: [usize; 4] = info.shape.as_slice().try_into().expect("rank 4");
        let image =
            images.tensor(&format!("{case}in.image"), DType::F32, &device).expect("floats").reshape(shape);
        let image = image.autodiff().require_grad();
        let key = |name: &str| format!("{case}{library}.{name}");
        let blocks = (0..net.depth()).filter(|i| fixture.has(&key(&format!("block{i}")))).collect::<Vec<_>>();
        let out = net.forward_blocks(image.clone(), &blocks);
        for (i, state) in blocks.iter().zip(&out.hooked) {
            fixture.check(&key(&format!("block{i}")), state.clone().inner());
        }
        let tokens = net.normalise(net.forward_blocks(image.clone(), &[]).last);
        let [_, t, _] = tokens.dims();
        let cls: Tensor<2> = tokens.clone().narrow(1, 0, 1).squeeze_dim(1);
        fixture.check(&key("cls"), cls.clone().inner());
        if !fixture.has(&key("patch")) {
            continue;
        }
        let count = fixture.io.info(&key("patch")).expect("there").shape[1];
        let patch = tokens.narrow(1, t - count, count);
        fixture.check(&key("patch"), patch.clone().inner());
        if fixture.has(&key("pos")) {
            let p = fixture.io.info(&key("pos")).expect("there").shape[1] - 1;
            let (h, w) = (shape[2], shape[3]);
            // The patch size of these small nets, from the number of patches.
            let side = ((h * w / p) as f64).sqrt() as usize;
            fixture.check(&key("pos"), net.positions([h / side, w / side]).unsqueeze::<3>());
        }
        if fixture.has(&key("grad.image")) {
            let gc = fixture.input::<2>(&format!("{case}in.gc"), DType::F32, &device);
            let gp = fixture.input::<3>(&format!("{case}in.gp"), DType::F32, &device);
            let grads = ((cls * gc).sum() + (patch * gp).sum()).backward();
            fixture.check(&key("grad.image"), image.grad(&grads).expect("a gradient"));
        }
    }
}

/// Pixels in [-1, 1], area resize, `ImageNet`'s statistics, patch tokens plus class token after the hooks.
fn compare_style_gan_t(fixture: &mut Fixture, net: &Vit) {
    let device = Device::flex();
    let image = fixture.leaf::<4>("sgt.in.image", &device);
    let side = image.dims()[2] / 2;
    let statistic = |values: [f32; 3]| Tensor::<1>::from_data(values, &device).reshape([1, 3, 1, 1]);
    let x = adaptive_avg_pool2d((image.clone() + 1.0) / 2.0, [side, side]);
    let x = (x - statistic(IMAGENET_MEAN)) / statistic(IMAGENET_STD);
    let out = net.forward_blocks(x, &[2, 5, 8, 11]);
    let mut sum = None;
    for (k, tokens) in out.hooked.into_iter().chain([out.embedded]).enumerate() {
        let [_, t, _] = tokens.dims();
        let feature = (tokens.clone().narrow(1, 1, t - 1) + tokens.narrow(1, 0, 1)).swap_dims(1, 2);
        let g = fixture.input::<3>(&format!("sgt.in.g.{k}"), DType::F32, &device);
        let term = (feature.clone() * g).sum();
        sum = Some(sum.map_or(term.clone(), |sum| sum + term));
        fixture.check(&format!("sgt.out.feat.{k}"), feature.inner());
    }
    let grads = sum.expect("five features").backward();
    fixture.check("sgt.grad.image", image.grad(&grads).expect("a gradient"));
}

fn load(config: VitConfig, source: &dyn Fn(&str) -> Source, fixture: &Fixture) -> Vit {
    let net = Vit::new(&config, &Init::new(0, &Device::flex())).expect("a valid configuration");
    let loading = Loading { source, ignore: &names::is_unused, dtype: DType::F32 };
    loading.load(net, fixture.weights()).expect("all parameters")
}

fn hub_config(json: &Value) -> VitConfig {
    let args = &json["model_args"];
    let second = json["architecture"].as_str().expect("a name").starts_with("dinov2");
    let base = if second { VitConfig::dinov2_s14() } else { VitConfig::dino_s16() };
    let config = VitConfig {
        image_size: size(args, "img_size"),
        patch_size: size(args, "patch_size"),
        channels: size(args, "embed_dim"),
        depth: size(args, "depth"),
        heads: size(args, "num_heads"),
        inner: 4 * size(args, "embed_dim"),
        ..base
    };
    let registers = json["num_register_tokens"].as_u64().unwrap_or(0);
    if registers > 0 { config.with_registers() } else { config }
}

fn transformers_config(json: &Value, base: VitConfig) -> VitConfig {
    let channels = size(json, "hidden_size");
    VitConfig {
        image_size: size(json, "image_size"),
        patch_size: size(json, "patch_size"),
        channels,
        depth: size(json, "num_hidden_layers"),
        heads: size(json, "num_attention_heads"),
        inner: json["intermediate_size"].as_u64().map_or(4 * channels, |inner| inner as usize),
        activation: serde_json::from_value::<Activation>(json["hidden_act"].clone()).expect("a nonlinearity"),
        ..base
    }
}

fn size(json: &Value, field: &str) -> usize {
    json[field].as_u64().unwrap_or_else(|| panic!("{field} of {json}")) as usize
}
