//! Every network follows the type of its input and of its values: in bf16 it gives what it gives in f32, up to rounding.

use add_nn::{
    autoencoder_kl::{AutoencoderKl, AutoencoderKlConfig},
    autoencoder_tiny::{AutoencoderTiny, AutoencoderTinyConfig},
    clip_text::{ClipText, ClipTextConfig},
    config::PerLevel,
    layers::Init,
    mobilenet_v2::MobileNetV2,
    unet::{AddedConditions, AdditionEmbedType, DownBlockType, UNet2dCondition, UnetConfig, UpBlockType},
    vit::{Vit, VitConfig},
};
use add_parameters::Network;
use burn::{
    module::Module,
    tensor::{DType, Device, Int, Tensor},
};

/// Norm of the difference, relative to that of the numbers; the networks are tens of roundings of 2^-9 deep.
const TOLERANCE: f64 = 0.05;
/// The same for the gradient through rectifiers, some of which a rounding turns on or off.
const RECTIFIED: f64 = 0.2;

fn ramp<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let count = shape.iter().product::<usize>() as i64;
    (Tensor::<1, Int>::arange(0..count, &Device::flex()).float() * 0.7).sin().reshape(shape)
}

fn held<M: Module>(module: &M, dtype: DType) -> M {
    let mut held = module.clone();
    held.map_parameters(&mut |_, _, value| value.cast(dtype));
    held
}

fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

fn close(what: &str, tolerance: f64, got: &[f64], want: &[f64]) {
    let norm = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    let all = norm(&mut want.iter().copied());
    let off = norm(&mut got.iter().zip(want).map(|(got, want)| got - want)) / all;
    assert!(all > 0.0 && off > 0.0, "{what}: nothing to compare");
    assert!(off < tolerance, "{what}: {off}");
}

/// Holds value and input gradient of a frozen network in bf16 to those in f32 of the same, rounded, values.
fn check<M: Module, const D: usize>(
    what: &str,
    module: &M,
    x: Tensor<4>,
    pass: impl Fn(&M, Tensor<4>) -> Tensor<D>,
) {
    let rounded = held(module, DType::BF16);
    let run = |dtype: DType| {
        let x = x.clone().cast(DType::BF16).cast(dtype).autodiff().require_grad();
        let y = pass(&held(&rounded, dtype), x.clone());
        assert_eq!(y.dtype(), dtype, "{what}");
        let weights = ramp(y.dims()).cast(dtype);
        let tape = (y.clone() * weights).sum().backward();
        (numbers(y.inner()), numbers(x.grad(&tape).expect("a gradient")))
    };
    let ((got, got_gradient), (want, want_gradient)) = (run(DType::BF16), run(DType::F32));
    close(what, TOLERANCE, &got, &want);
    let rectified = what.starts_with("tiny") || what.starts_with("Mobile");
    let tolerance = if rectified { RECTIFIED } else { TOLERANCE };
    close(&format!("{what}, gradient"), tolerance, &got_gradient, &want_gradient);
}

fn unet(device: &Device) -> UNet2dCondition {
    let config = UnetConfig {
        block_out_channels: vec![8, 16],
        down_block_types: vec![DownBlockType::DownBlock2D, DownBlockType::CrossAttnDownBlock2D],
        up_block_types: vec![UpBlockType::CrossAttnUpBlock2D, UpBlockType::UpBlock2D],
        layers_per_block: PerLevel::All(1),
        norm_num_groups: 4,
        cross_attention_dim: PerLevel::All(6),
        attention_head_dim: PerLevel::All(2),
        addition_embed_type: Some(AdditionEmbedType::TextTime),
        addition_time_embed_dim: Some(4),
        projection_class_embeddings_input_dim: Some(5 + 6 * 4),
        ..UnetConfig::default()
    };
    UNet2dCondition::new(&config, &Init::new(0, device)).expect("valid")
}

/// At timesteps that bf16 could not tell from 1000.
fn predict(net: &UNet2dCondition, x: Tensor<4>) -> Tensor<4> {
    let dtype = x.dtype();
    let added = AddedConditions::TextTime {
        text_embeds: ramp([2, 5]).cast(dtype),
        time_ids: Tensor::from_floats([[768.0, 888.0, 0.0, 0.0, 768.0, 888.0]; 2], &Device::flex()),
    };
    let time = Tensor::from_floats([3.0, 999.0], &Device::flex());
    net.forward(x, time, ramp([2, 3, 6]).cast(dtype), Some(added))
}

#[test]
fn the_unet() {
    check("U-Net", &unet(&Device::flex()), ramp([2, 4, 6, 4]), predict);
}

#[test]
fn a_trained_unet_keeps_its_values_and_gradients_in_f32() {
    let net = unet(&Device::flex().autodiff());
    let run = |dtype: DType| {
        let y = predict(&net, ramp([2, 4, 6, 4]).cast(dtype));
        let mut tape = (y * ramp([2, 4, 6, 4]).cast(dtype)).sum().backward();
        net.take_gradients(&mut tape)
    };
    let (got, want) = (run(DType::BF16), run(DType::F32));
    assert!(got.len() > 100 && got.keys().eq(want.keys()), "{} and {}", got.len(), want.len());
    assert!(got.values().all(|gradient| gradient.dtype() == DType::F32));
    // Of single tensors some are sums that cancel.
    let all = |gradients: std::collections::BTreeMap<String, Tensor<1>>| -> Vec<f64> {
        gradients.into_values().flat_map(numbers).collect()
    };
    close("gradients of the values", TOLERANCE, &all(got), &all(want));
}

#[test]
fn the_autoencoders() {
    let config = AutoencoderKlConfig {
        block_out_channels: vec![4, 8],
        layers_per_block: 1,
        norm_num_groups: 2,
        ..AutoencoderKlConfig::default()
    };
    let net = AutoencoderKl::new(&config, &Init::new(3, &Device::flex())).expect("valid");
    check("KL encoder", &net, ramp([1, 3, 8, 8]), |net, x| net.encode(x).mean);
    check("KL decoder", &net, ramp([1, 4, 4, 4]), AutoencoderKl::decode);
    let net = AutoencoderTiny::new(&AutoencoderTinyConfig::default(), &Init::new(3, &Device::flex()));
    let net = net.expect("valid");
    check("tiny encoder", &net, ramp([1, 3, 16, 16]), AutoencoderTiny::encode);
    check("tiny decoder", &net, ramp([1, 4, 2, 2]), AutoencoderTiny::decode);
}

#[test]
fn the_feature_networks() {
    let small = |config: VitConfig| VitConfig {
        image_size: 16,
        patch_size: 4,
        channels: 8,
        depth: 3,
        heads: 2,
        inner: 16,
        ..config
    };
    let dino = small(VitConfig::dino_s16());
    for (what, config) in [
        ("DINO", dino),
        ("DINOv2", VitConfig { registers: 2, layer_scale: Some(0.5), ..dino }),
        ("CLIP", small(VitConfig::clip_l14())),
    ] {
        let net = Vit::new(&config, &Init::new(5, &Device::flex())).expect("valid");
        // Another size than the table's, so that positions are resized.
        check(what, &net, ramp([2, 3, 24, 24]), |net, x| net.forward_blocks(x, &[1]).last);
        check(what, &net, ramp([2, 3, 24, 24]), Vit::image_embedding);
    }
    let net = MobileNetV2::new(&Init::new(1, &Device::flex())).fold();
    check("MobileNetV2", &net, ramp([1, 3, 32, 32]), |net, x| {
        net.forward_blocks(x, &[6]).pop().expect("one hook")
    });
}

#[test]
fn the_text_encoder() {
    let config = ClipTextConfig {
        vocab_size: 20,
        hidden_size: 8,
        intermediate_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        max_position_embeddings: 6,
        eos_token_id: 19,
        ..ClipTextConfig::default()
    };
    let rounded = ClipText::new(&config, &Init::new(5, &Device::flex())).expect("valid");
    let rounded = held(&rounded, DType::BF16);
    let ids = Tensor::<2, Int>::from_data([[1, 2, 3, 4, 19], [1, 5, 19, 0, 0]], &Device::flex());
    let run = |dtype: DType| held(&rounded, dtype).forward(ids.clone()).last_hidden_state;
    assert_eq!(run(DType::BF16).dtype(), DType::BF16);
    close("text encoder", TOLERANCE, &numbers(run(DType::BF16)), &numbers(run(DType::F32)));
}
