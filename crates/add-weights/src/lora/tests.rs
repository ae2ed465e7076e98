//! Changes by hand, and files that are refused.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};

use super::*;
use crate::{NamedTensor, Precision, save};

type Tensors<'a> = [(&'a str, &'a [usize], &'a [f32])];

fn file(tensors: &Tensors<'_>, metadata: &[(&str, &str)]) -> Result<LoraFile, WeightsError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lora.safetensors");
    let named = |(name, shape, values): &(&str, &[usize], &[f32])| {
        let values = Tensor::from_data(*values, &Device::flex());
        ((*name).to_owned(), NamedTensor { shape: shape.to_vec(), values })
    };
    let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    save(&path, &tensors.iter().map(named).collect(), Precision::F32, &metadata).expect("written");
    LoraFile::open(&path)
}

fn layers(parameters: &[(&str, &[usize])]) -> Layers {
    Layers::new(parameters.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())))
}

/// The changes of the denoiser by parameter.
fn changes(file: &LoraFile, layers: &Layers) -> BTreeMap<String, Vec<f32>> {
    let changes = file.changes(Part::Denoiser, layers).expect("fits");
    let values = |change: &Change<'_>| {
        let values = change.values(&Device::flex()).expect("finite");
        (change.parameter.clone(), values.into_data().try_to_vec().expect("f32"))
    };
    changes.iter().map(values).collect()
}

fn check(tensors: &Tensors<'_>, shape: &[usize], expected: &[f32]) {
    let file = file(tensors, &[]).expect("sound");
    let found = changes(&file, &layers(&[("mid.to_q.weight", shape)]));
    assert_eq!(found["mid.to_q.weight"], expected, "{tensors:?}");
}

#[test]
fn the_change_is_the_scaled_product_of_the_factors() {
    // alpha / rank = 2 / 1.
    let up: (&str, &[usize], &[f32]) = ("lora_unet_mid_to_q.lora_up.weight", &[2, 1], &[1.0, 2.0]);
    let down: (&str, &[usize], &[f32]) = ("lora_unet_mid_to_q.lora_down.weight", &[1, 2], &[3.0, 4.0]);
    let alpha: (&str, &[usize], &[f32]) = ("lora_unet_mid_to_q.alpha", &[], &[2.0]);
    check(&[up, down, alpha], &[2, 2], &[6.0, 8.0, 12.0, 16.0]);
    // Without alpha it counts once.
    check(&[up, down], &[2, 2], &[3.0, 4.0, 6.0, 8.0]);
    // The same layer as a 1x1 convolution.
    check(&[up, down], &[2, 2, 1, 1], &[3.0, 4.0, 6.0, 8.0]);
}

#[test]
fn a_core_couples_the_ranks_of_a_convolutions_factors() {
    check(
        &[
            ("unet.mid.to_q.lora_up.weight", &[1, 2, 1, 1], &[1.0, 10.0]),
            ("unet.mid.to_q.lora_mid.weight", &[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0]),
            ("unet.mid.to_q.lora_down.weight", &[1, 1, 1, 1], &[1.0]),
        ],
        &[1, 1, 1, 2],
        &[31.0, 42.0],
    );
}

#[test]
fn loha_multiplies_two_products_element_by_element() {
    let name = |end: &str| format!("lora_unet_mid_to_q.{end}");
    let (a, b, c, d) = (name("hada_w1_a"), name("hada_w1_b"), name("hada_w2_a"), name("hada_w2_b"));
    let alpha = name("alpha");
    check(
        &[
            (&a, &[2, 1], &[1.0, 2.0]),
            (&b, &[1, 2], &[3.0, 4.0]),
            (&c, &[2, 1], &[1.0, -1.0]),
            (&d, &[1, 2], &[0.5, 2.0]),
            (&alpha, &[1], &[2.0]),
        ],
        &[2, 2],
        // [[3, 4], [6, 8]] * [[0.5, 2], [-0.5, -2]] * 2
        &[3.0, 16.0, -6.0, -32.0],
    );
}

#[test]
fn lokr_is_the_kronecker_product_and_its_alpha_needs_a_rank() {
    let name = |end: &str| format!("lora_unet_mid_to_q.{end}");
    let (one, two, alpha) = (name("lokr_w1"), name("lokr_w2"), name("alpha"));
    check(
        &[(&one, &[1, 2], &[1.0, 2.0]), (&two, &[2, 1], &[3.0, 4.0]), (&alpha, &[], &[7.0])],
        &[2, 2],
        &[3.0, 6.0, 4.0, 8.0],
    );
    let (a, b) = (name("lokr_w2_a"), name("lokr_w2_b"));
    check(
        &[
            (&one, &[1, 2], &[1.0, 2.0]),
            (&a, &[2, 1], &[3.0, 4.0]),
            (&b, &[1, 1], &[1.0]),
            (&alpha, &[], &[0.5]),
        ],
        &[2, 2],
        &[1.5, 3.0, 2.0, 4.0],
    );
}

#[test]
fn a_plain_difference_counts_as_it_is() {
    let file = file(
        &[
            ("diffusion_model.out.0.diff", &[2], &[1.0, 2.0]),
            ("diffusion_model.out.0.diff_b", &[2], &[3.0, 4.0]),
        ],
        &[],
    );
    let layers = layers(&[("conv_norm_out.weight", &[2]), ("conv_norm_out.bias", &[2])]);
    let layers = layers.also(&|name| crate::names::ldm::unet(&add_nn::unet::UnetConfig::default(), name));
    let found = changes(&file.expect("sound"), &layers);
    assert_eq!(found["conv_norm_out.weight"], [1.0, 2.0]);
    assert_eq!(found["conv_norm_out.bias"], [3.0, 4.0]);
}

#[test]
fn peft_says_beside_its_tensors_how_much_they_count() {
    let tensors: &Tensors<'_> = &[
        ("unet.mid.to_q.lora_A.weight", &[1, 1], &[3.0]),
        ("unet.mid.to_q.lora_B.weight", &[1, 1], &[1.0]),
        ("unet.mid.to_k.lora_A.weight", &[1, 1], &[3.0]),
        ("unet.mid.to_k.lora_B.weight", &[1, 1], &[1.0]),
    ];
    let text = r#"{"unet.r": 4, "unet.lora_alpha": 8, "unet.use_rslora": true, "unet.alpha_pattern": {"to_k": 2}, "text_encoder.r": 1, "text_encoder.lora_alpha": 1}"#;
    let file = file(tensors, &[("lora_adapter_metadata", text)]).expect("sound");
    let found = changes(&file, &layers(&[("mid.to_q.weight", &[1, 1]), ("mid.to_k.weight", &[1, 1])]));
    assert_eq!(found["mid.to_q.weight"], [12.0]);
    assert_eq!(found["mid.to_k.weight"], [3.0]);
}

fn refusal(tensors: &Tensors<'_>, words: &[&str]) {
    let layers = layers(&[("mid.to_q.weight", &[2, 2])]);
    let said = match file(tensors, &[]) {
        Err(error) => error.to_string(),
        Ok(file) => match file.changes(Part::Denoiser, &layers) {
            Err(error) => error.to_string(),
            Ok(changes) => match changes.iter().find_map(|change| change.values(&Device::flex()).err()) {
                Some(error) => error.to_string(),
                None => panic!("{tensors:?} is refused"),
            },
        },
    };
    for word in words {
        assert!(said.contains(word), "expected {word:?} in: {said}");
    }
}

#[test]
fn whatever_does_not_count_is_named() {
    const UP: (&str, &[usize], &[f32]) = ("lora_unet_mid_to_q.lora_up.weight", &[2, 1], &[1.0; 2]);
    const DOWN: (&str, &[usize], &[f32]) = ("lora_unet_mid_to_q.lora_down.weight", &[1, 2], &[1.0; 2]);
    refusal(&[("conv_in.weight", &[1], &[1.0])], &["no LoRA"]);
    refusal(&[UP, DOWN, ("lora_unet_mid_to_q.dora_scale", &[1], &[1.0])], &["dora_scale"]);
    refusal(
        &[UP, DOWN, ("lora_unet_mid_to_v.alpha", &[1], &[1.0])],
        &["lora_unet_mid_to_v.alpha", "no factor"],
    );
    refusal(&[("lora_unet_mid_to_v.diff", &[1], &[1.0]), UP, DOWN], &["lora_unet_mid_to_v.diff", "no place"]);
    refusal(&[UP], &["lora_up", "no factor"]);
    refusal(&[UP, DOWN, ("lora_unet_mid_to_q.hada_w1_a", &[1], &[1.0])], &["hada_w1_a", "another kind"]);
    refusal(&[UP, DOWN, ("lora_unet_mid_to_q.alpha", &[2], &[1.0; 2])], &["alpha", "one number"]);
    refusal(&[UP, (DOWN.0, &[1, 3], &[1.0; 3])], &["[2, 3]", "[2, 2]"]);
    refusal(&[UP, (DOWN.0, &[2, 2], &[1.0; 4])], &["rank 1", "2"]);
    refusal(&[UP, (DOWN.0, &[2], &[1.0; 2])], &["expected a matrix"]);
    refusal(&[UP, (DOWN.0, &[1, 2], &[1.0, f32::NAN])], &["lora_down", "finite"]);
    let huge: &[usize] = &[1 << 40, 0];
    refusal(
        &[("lora_unet_mid_to_q.lokr_w1", huge, &[]), ("lora_unet_mid_to_q.lokr_w2", huge, &[])],
        &["beyond all models"],
    );
}

#[test]
fn layers_of_a_text_encoder_are_known_with_and_without_what_transformers_5_leaves_out() {
    for stored in ["text_model.encoder.layers.0.mlp.fc1", "encoder.layers.0.mlp.fc1"] {
        let layers = layers(&[(&format!("{stored}.weight"), &[1, 1])]);
        for name in [
            "lora_te1_text_model_encoder_layers_0_mlp_fc1",
            "text_encoder.text_model.encoder.layers.0.mlp.fc1",
        ] {
            let (up, down) = (format!("{name}.lora_up.weight"), format!("{name}.lora_down.weight"));
            let file = file(&[(&up, &[1, 1], &[1.0]), (&down, &[1, 1], &[1.0])], &[]).expect("sound");
            assert_eq!(file.changes(Part::Text, &layers).expect("fits").len(), 1);
            assert!(file.changes_part(Part::Text) && !file.changes_part(Part::Denoiser));
        }
    }
}

proptest::proptest! {
    /// Names, shapes and offsets of a sound file, damaged: it is refused or read, and never panics.
    #[test]
    fn no_damage_makes_the_reader_panic(at in 0_usize..600, value: u8) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lora.safetensors");
        let values = |n: usize| Tensor::<1>::ones([n], &Device::flex());
        let tensor = |name: &str, shape: &[usize]| {
            (name.to_owned(), NamedTensor { shape: shape.to_vec(), values: values(shape.iter().product()) })
        };
        let tensors = [
            tensor("lora_unet_mid_to_q.lora_up.weight", &[2, 1]),
            tensor("lora_unet_mid_to_q.lora_down.weight", &[1, 2]),
            tensor("lora_unet_mid_to_q.alpha", &[1]),
            tensor("lora_unet_a.lokr_w1", &[2, 2]),
            tensor("lora_unet_a.lokr_w2", &[1, 1]),
        ];
        save(&path, &tensors.into(), Precision::F32, &BTreeMap::new()).expect("written");
        let mut bytes = std::fs::read(&path).expect("there");
        let at = at % bytes.len();
        bytes[at] = value;
        std::fs::write(&path, bytes).expect("written");
        let layers = layers(&[("mid.to_q.weight", &[2, 2]), ("a.weight", &[2, 2])]);
        if let Ok(file) = LoraFile::open(&path)
            && let Ok(changes) = file.changes(Part::Denoiser, &layers) {
            for change in changes {
                let _ = change.values(&Device::flex());
            }
        }
    }
}
