//! The released text encoders together: their sizes, their namings, what they take from a file.

use std::{collections::BTreeMap, path::Path};

use add_nn::{clip_text::ClipTextConfig, layers::Init};
use add_plugin::{Conditioning, Network, Plugin, TextEncoder, parameter_count};
use add_weights::{NamedTensor, Precision, save};
use burn::tensor::{Device, Tensor};
use ron::extensions::Extensions;

use crate::released::{Padding, Tower};

fn recipe(text: &str) -> Plugin<dyn TextEncoder> {
    let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
    options.from_str(text).expect(text)
}

#[test]
fn parameter_counts_are_those_of_the_released_encoders() {
    for (text, count) in [
        ("ClipL(weights: \"x\")", 123_060_480),
        ("OpenClipH(weights: \"x\")", 340_387_840),
        ("OpenClipG(weights: \"x\")", 354_032_640),
        // Those of whole CLIPs: 151,277,313, 149,620,737, 427,616,513 and 986,109,441 with the image tower and the temperature.
        ("Clip(weights: \"x\", model: B32)", 63_428_096),
        ("Clip(weights: \"x\", model: B16)", 63_428_096),
        ("Clip(weights: \"x\")", 123_650_304),
        ("Clip(weights: \"x\", model: H14)", 354_032_640),
        // The two of SDXL: 123,060,480 and 694,659,840.
        ("ClipLBigG(weights: \"x\")", 817_720_320),
        ("PooledFrom(tokens: OpenClipH(weights: \"x\"), pooled: OpenClipG(weights: \"y\"))", 694_420_480),
    ] {
        let network = recipe(text).outline(&Device::flex()).expect("no file is read");
        assert_eq!(parameter_count(&*network), count, "{text}");
    }
}

#[test]
fn files_are_named_by_the_place() {
    for (text, files) in [
        ("ClipL(weights: \"hf://a/b/text_encoder\")", vec!["hf://a/b/text_encoder/model.safetensors"]),
        ("ClipL(weights: \"m/sd15.safetensors\")", vec!["m/sd15.safetensors"]),
        ("Clip(weights: \"hf://a/b\", model: B32)", vec!["hf://a/b/model.safetensors"]),
        ("Clip(weights: \"hf://a/b\", model: H14)", vec!["hf://a/b/open_clip_model.safetensors"]),
        ("OpenClipG(weights: \"hf://a/b\")", vec!["hf://a/b/open_clip_model.safetensors"]),
        (
            "ClipLBigG(weights: \"hf://a/b\")",
            vec!["hf://a/b/text_encoder/model.safetensors", "hf://a/b/text_encoder_2/model.safetensors"],
        ),
        ("ClipLBigG(weights: \"xl.safetensors\")", vec!["xl.safetensors"]),
    ] {
        assert_eq!(recipe(text).weights(), files, "{text}");
    }
}

#[test]
fn a_missing_file_is_named_and_shapes_need_none() {
    let error = recipe("ClipL(weights: \"no/such/folder\")").init(0, &Device::flex()).expect_err("missing");
    assert!(error.to_string().contains("no/such/folder/model.safetensors"), "{error}");
    let untrained = "PooledFrom(tokens: Mini(), pooled: Mini())";
    let error = recipe(untrained).outline(&Device::flex()).expect_err("no weights").to_string();
    assert!(error.contains("tokens") && error.contains("Mini"), "{error}");
}

/// The tensors of a small CLIP text encoder in transformers' names, widths as given; values from `seed`.
fn write(path: &Path, config: &ClipTextConfig, seed: u64) {
    let net = add_nn::clip_text::ClipText::new(config, &Init::new(seed, &Device::flex())).expect("valid");
    let mut tensors = BTreeMap::new();
    net.for_each_parameter(&mut |name, shape, values| {
        tensors.insert(name.to_owned(), NamedTensor { shape: shape.to_vec(), values });
    });
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    save(path, &tensors, Precision::F16, &BTreeMap::new()).expect("written");
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

#[test]
fn sd2_leaves_out_the_last_of_24_layers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let small =
        |layers| ClipTextConfig { num_hidden_layers: layers, ..ClipTextConfig::open_clip(16, layers, 2) };
    write(&path, &small(3), 5);
    let weights = add_weights::Location::Local(path);
    let device = Device::flex();
    let encode = |layers| {
        let tower = Tower::outline(&small(layers), Padding::Zero, &device).expect("valid");
        tower
            .load(&weights, add_weights::names::found::TextTower::OpenClip)
            .map(|t| t.forward(&["a cat".into()]))
    };
    let (two, three) = (encode(2).expect("one layer is passed over"), encode(3).expect("all"));
    assert_eq!(values(&two.hidden_states[2]), values(&three.hidden_states[2]));
    assert_ne!(values(&two.last_hidden_state), values(&three.last_hidden_state));
    let error = encode(4).expect_err("a layer is missing").to_string();
    assert!(error.contains("encoder.layers.3."), "{error}");
}

#[test]
fn padding_is_part_of_what_is_encoded() {
    let config = ClipTextConfig::default();
    let small = ClipTextConfig { hidden_size: 8, intermediate_size: 8, num_attention_heads: 1, ..config };
    let small = ClipTextConfig { num_hidden_layers: 1, ..small.projected() };
    let encode = |padding| {
        let tower = Tower::outline(&small, padding, &Device::flex()).expect("valid");
        tower.forward(&["a cat".to_owned()])
    };
    let (end, zero) = (encode(Padding::End), encode(Padding::Zero));
    assert_eq!(values(&end.pooled), values(&zero.pooled), "the text is over before the padding");
    assert_ne!(values(&end.last_hidden_state), values(&zero.last_hidden_state));
    assert_eq!(end.last_hidden_state.dims(), [1, 77, 8]);
}

#[test]
fn windows_are_what_their_texts_are_by_themselves() {
    let config = ClipTextConfig::default();
    let small = ClipTextConfig { hidden_size: 8, intermediate_size: 8, num_attention_heads: 1, ..config };
    let small = ClipTextConfig { num_hidden_layers: 2, ..small.projected() };
    for padding in [Padding::End, Padding::Zero, Padding::ZeroOfOpenClip] {
        windows_are_their_texts(&Tower::outline(&small, padding, &Device::flex()).expect("valid"));
    }
}

fn windows_are_their_texts(tower: &Tower) {
    // Each word is one token, and a window holds 75.
    let words: Vec<&str> = "a photo of a cat".split(' ').cycle().take(100).collect();
    let texts = [&words[..75], &words[75..]].map(|words| words.join(" "));
    let (whole, parts) = (tower.forward_windows(&words.join(" "), 1), tower.forward(&texts));
    assert_eq!((tower.windows(&words.join(" ")), whole.last_hidden_state.dims()), (2, [2, 77, 8]));
    assert_eq!(values(&whole.last_hidden_state), values(&parts.last_hidden_state));
    let joined = Conditioning::new(whole.last_hidden_state, whole.pooled).joined();
    assert_eq!((joined.tokens.dims(), joined.pooled.dims()), ([1, 154, 8], [1, 8]));
    assert_eq!(values(&joined.tokens), values(&parts.last_hidden_state));
    assert_eq!(values(&joined.pooled), values(&parts.pooled.narrow(0, 0, 1)), "that of the first");
    // A second encoder may need a window more: it is that of the empty text.
    let filled = tower.forward_windows("a cat", 2).last_hidden_state;
    assert_eq!(values(&filled), values(&tower.forward(&["a cat".into(), String::new()]).last_hidden_state));
    let left_out = tower.left_out(&words.join(" ")).expect("25 words");
    assert_eq!(left_out, texts[1]);
}
