//! Released models as people have them: whole in one place, in every way of saving, with what they state about themselves.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use add_core::{
    assemble,
    export::Precision,
    read::{self, LoadedRecipe},
    recipe::options,
    weights::{Kept, choose},
};
use add_plugin::{Plugin, TextEncoder};
use add_weights::{NamedTensor, save};
use burn::tensor::{Device, Tensor};

use crate::{binary::refuses, root};

/// A file of tensors that hold nothing, with the shapes of a released model's tell-tale tensors.
pub(crate) fn write(path: &Path, tensors: &[(&str, &[usize])], metadata: &[(&str, &str)]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let named = |(name, shape): &(&str, &[usize])| {
        let values = Tensor::zeros([shape.iter().product::<usize>()], &Device::flex());
        ((*name).to_owned(), NamedTensor { shape: shape.to_vec(), values })
    };
    let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    save(path, &tensors.iter().map(named).collect::<BTreeMap<_, _>>(), Precision::F16, &metadata).unwrap();
}

pub(crate) const UNET: (&str, &[usize]) = ("model.diffusion_model.time_embed.0.weight", &[1280, 320]);
pub(crate) const UNET_IN: (&str, &[usize]) =
    ("model.diffusion_model.input_blocks.0.0.weight", &[320, 4, 3, 3]);
pub(crate) const KEYS: (&str, &[usize]) =
    ("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", &[320, 768]);
pub(crate) const VAE: (&str, &[usize]) = ("first_stage_model.decoder.conv_in.weight", &[512, 4, 3, 3]);
pub(crate) const TEXT: (&str, &[usize]) = ("cond_stage_model.transformer.final_layer_norm.weight", &[768]);
pub(crate) const DIFFUSERS: [(&str, &[usize]); 3] = [
    ("time_embedding.linear_1.weight", &[1280, 320]),
    ("conv_in.weight", &[320, 4, 3, 3]),
    ("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight", &[320, 768]),
];

fn sd15(sets: &[&str]) -> LoadedRecipe {
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    read::read(&root().join("configs/sd15.ron"), &sets).unwrap()
}

fn chosen(place: &Path, kept: Kept) -> LoadedRecipe {
    let mut loaded = sd15(&[]);
    choose(&mut loaded, place.to_str().unwrap(), kept, &mut ()).unwrap();
    loaded
}

/// Where text encoder and codec come from.
fn places(loaded: &LoadedRecipe) -> [String; 2] {
    [loaded.recipe.text.weights()[0].clone(), loaded.recipe.codec.weights()[0].clone()]
}

#[test]
fn a_whole_model_is_enough_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let [text, codec] = places(&sd15(&[]));
    let whole = at("whole.safetensors");
    write(&whole, &[UNET, UNET_IN, KEYS, VAE, TEXT], &[]);
    let here = whole.to_str().unwrap().to_owned();
    assert_eq!(places(&chosen(&whole, Kept::default())), [here.clone(), here.clone()]);
    assert_eq!(places(&chosen(&whole, Kept { text: true, codec: false })), [text.clone(), here.clone()]);
    assert_eq!(places(&chosen(&whole, Kept { text: false, codec: true })), [here, codec.clone()]);
    // What it lacks comes from the recipe, as before.
    write(&at("unet.safetensors"), &[UNET, UNET_IN, KEYS], &[]);
    assert_eq!(places(&chosen(&at("unet.safetensors"), Kept::default())), [text.clone(), codec.clone()]);

    let pipeline = at("pipeline");
    write(&pipeline.join("unet/diffusion_pytorch_model.safetensors"), &DIFFUSERS, &[]);
    assert_eq!(places(&chosen(&pipeline, Kept::default())), [text, codec]);
    for part in ["text_encoder", "vae"] {
        fs::create_dir(pipeline.join(part)).unwrap();
    }
    let [text, codec] = places(&chosen(&pipeline, Kept::default()));
    assert_eq!(PathBuf::from(text), pipeline.join("text_encoder/model.safetensors"));
    assert_eq!(PathBuf::from(codec), pipeline.join("vae/diffusion_pytorch_model.safetensors"));
    // Another scale of the latents would be sampled without a word.
    fs::write(pipeline.join("vae/config.json"), r#"{"scaling_factor": 0.13025}"#).unwrap();
    let mut loaded = sd15(&[]);
    let error =
        choose(&mut loaded, pipeline.to_str().unwrap(), Kept::default(), &mut ()).unwrap_err().to_string();
    assert!(error.contains("0.13025") && error.contains("0.18215"), "{error}");
}

/// What sampling a model with this recipe says before it reads a value.
pub(crate) fn refusal(place: &Path, sets: &[&str]) -> String {
    let mut loaded = sd15(sets);
    match choose(&mut loaded, place.to_str().unwrap(), Kept::default(), &mut ()) {
        Ok(_) => assemble::untrained(&loaded, &loaded.recipe.model, Vec::new()).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_model_that_contradicts_the_recipe_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let own = [UNET, UNET_IN, KEYS];
    let v = "model.backbone=Sd15(prediction: V)";
    let zero = "model.schedule=ZeroTerminalSnr(inner: ScaledLinear())";
    let empty: &[usize] = &[0];
    for (tensors, metadata, sets, words) in [
        (vec![("v_pred", empty)], None, &[][..], &["predicts V", "`v_pred`", "Sd15(prediction: V)"][..]),
        (vec![], Some(("modelspec.prediction_type", "v")), &[], &["predicts V", "modelspec.prediction_type"]),
        (vec![], Some(("modelspec.prediction_type", "epsilon")), &[v], &["predicts Epsilon", "recipe's V"]),
        (vec![("v_pred", empty), ("ztsnr", empty)], None, &[v], &["zero terminal SNR", "ZeroTerminalSnr("]),
        (vec![("edm_mean", empty)], None, &[], &["EDM"]),
        // With what it says, it is read, and found to be incomplete.
        (vec![("v_pred", empty), ("ztsnr", empty)], None, &[v, zero], &["missing"]),
        (vec![], None, &[], &["missing"]),
    ] {
        let metadata: Vec<(&str, &str)> = metadata.into_iter().collect();
        write(&file, &[&own[..], &tensors].concat(), &metadata);
        let said = refusal(&file, sets);
        for word in words {
            assert!(said.contains(word), "expected {word:?} in: {said}");
        }
    }
    let pipeline = folder.path().join("pipeline");
    write(&pipeline.join("unet/diffusion_pytorch_model.safetensors"), &DIFFUSERS, &[]);
    fs::create_dir(pipeline.join("scheduler")).unwrap();
    let scheduler = pipeline.join("scheduler/scheduler_config.json");
    fs::write(&scheduler, r#"{"prediction_type": "v_prediction", "rescale_betas_zero_snr": true}"#).unwrap();
    assert!(refusal(&pipeline, &[]).contains("predicts V"));
    assert!(refusal(&pipeline, &[v]).contains("zero terminal SNR"));
    assert!(refusal(&pipeline, &[v, zero]).contains("missing"));
    // A latent consistency model is told the guidance scale.
    let told: (&str, &[usize]) = ("time_embedding.cond_proj.weight", &[320, 256]);
    write(&file, &[&DIFFUSERS[..], &[told]].concat(), &[]);
    assert!(refusal(&file, &[]).contains("guidance_embedding: 256"));
    assert!(refusal(&file, &["model.backbone=Sd15(guidance_embedding: 256)"]).contains("missing"));
}

/// Nothing else that the model needs is looked for before that is said.
#[test]
fn a_contradiction_is_told_before_other_files_are_missed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let told: (&str, &[usize]) = ("time_embedding.cond_proj.weight", &[320, 256]);
    let lcm = [&DIFFUSERS[..], &[told]].concat();
    for (tensors, metadata, words) in [
        (DIFFUSERS.to_vec(), &[("modelspec.prediction_type", "v")][..], "predicts V"),
        (lcm, &[], "guidance_embedding: 256"),
    ] {
        write(&file, &tensors, metadata);
        let weights = file.to_str().unwrap();
        let codec = "codec=KlVae(weights: \"no/vae.safetensors\", scaling_factor: 0.18215)";
        let text = "text=ClipL(weights: \"no/text.safetensors\")";
        let sample =
            ["sample", "configs/sd15.ron", "--prompt", "a", "--grid", "never.png", "--weights", weights];
        refuses(&[&sample[..], &["--set", codec, "--set", text]].concat(), 1, &[words]);
    }
}

/// transformers 4 saved the numbers of the positions beside the weights; they are no weights.
#[test]
fn a_text_encoder_with_its_positions_is_the_same_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let device = Device::flex();
    let mut names: Vec<(String, Vec<usize>)> = vec![
        ("embeddings.token_embedding.weight".to_owned(), vec![49408, 768]),
        ("embeddings.position_embedding.weight".to_owned(), vec![77, 768]),
    ];
    let mut layer = |name: String, shape: &[usize]| {
        names.push((format!("{name}.bias"), shape[..1].to_vec()));
        names.push((format!("{name}.weight"), shape.to_vec()));
    };
    for i in 0..12 {
        let at = |name: &str| format!("encoder.layers.{i}.{name}");
        for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            layer(at(&format!("self_attn.{name}")), &[768, 768]);
        }
        layer(at("mlp.fc1"), &[3072, 768]);
        layer(at("mlp.fc2"), &[768, 3072]);
        layer(at("layer_norm1"), &[768]);
        layer(at("layer_norm2"), &[768]);
    }
    layer("final_layer_norm".to_owned(), &[768]);
    let values = |name: &str, count: usize| -> Vec<f32> {
        (0..count).map(|i| ((i * 31 + name.len() * 7) % 64) as f32 * 1e-3 - 0.03).collect()
    };
    let states = |positions: bool| {
        let mut tensors: BTreeMap<String, NamedTensor> = names
            .iter()
            .map(|(name, shape)| {
                let values = values(name, shape.iter().product());
                let values = Tensor::from_data(values.as_slice(), &device);
                (format!("text_model.{name}"), NamedTensor { shape: shape.clone(), values })
            })
            .collect();
        if positions {
            let values = Tensor::from_data((0..77).map(|i| i as f32).collect::<Vec<_>>().as_slice(), &device);
            tensors.insert(
                "text_model.embeddings.position_ids".to_owned(),
                NamedTensor { shape: vec![1, 77], values },
            );
        }
        save(&path, &tensors, Precision::F16, &BTreeMap::new()).unwrap();
        let encoder: Plugin<dyn TextEncoder> =
            options().from_str(&format!("ClipL(weights: {path:?})")).unwrap();
        encoder.init(0, &device).unwrap().encode(&["a fox".to_owned()]).tokens.into_data()
    };
    assert_eq!(states(true), states(false));
}
