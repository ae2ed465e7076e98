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
use add_weights::{NamedTensor, doctor, save};
use burn::tensor::{Device, Tensor};

use crate::{
    binary::{add, refuses},
    root,
};

/// A file of tensors that hold nothing, with the shapes of a released model's tell-tale tensors.
fn write(path: &Path, tensors: &[(&str, &[usize])], metadata: &[(&str, &str)]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let named = |(name, shape): &(&str, &[usize])| {
        let values = Tensor::zeros([shape.iter().product::<usize>()], &Device::flex());
        ((*name).to_owned(), NamedTensor { shape: shape.to_vec(), values })
    };
    let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    save(path, &tensors.iter().map(named).collect::<BTreeMap<_, _>>(), Precision::F16, &metadata).unwrap();
}

const UNET: (&str, &[usize]) = ("model.diffusion_model.time_embed.0.weight", &[1280, 320]);
const UNET_IN: (&str, &[usize]) = ("model.diffusion_model.input_blocks.0.0.weight", &[320, 4, 3, 3]);
const KEYS: (&str, &[usize]) =
    ("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", &[320, 768]);
const VAE: (&str, &[usize]) = ("first_stage_model.decoder.conv_in.weight", &[512, 4, 3, 3]);
const TEXT: (&str, &[usize]) = ("cond_stage_model.transformer.final_layer_norm.weight", &[768]);
const DIFFUSERS: [(&str, &[usize]); 3] = [
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
fn refusal(place: &Path, sets: &[&str]) -> String {
    let mut loaded = sd15(sets);
    choose(&mut loaded, place.to_str().unwrap(), Kept::default(), &mut ()).unwrap();
    assemble::untrained(&loaded, &loaded.recipe.model, Vec::new()).unwrap_err().to_string()
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

/// What the doctor says of single files that state something, or that no recipe takes as they are.
#[test]
fn the_doctor_says_what_a_file_states_and_what_stands_in_its_way() {
    let folder = tempfile::tempdir().unwrap();
    let sdxl: [(&str, &[usize]); 4] = [
        UNET,
        UNET_IN,
        ("model.diffusion_model.label_emb.0.0.weight", &[1280, 2816]),
        ("model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", &[640, 2048]),
    ];
    let empty: &[usize] = &[0];
    let ema: [(&str, &[usize]); 2] =
        [("model_ema.diffusion_modeltime_embed0weight", &[1280, 320]), ("model_ema.decay", &[])];
    let told: (&str, &[usize]) = ("time_embedding.cond_proj.weight", &[320, 256]);
    let v = ("modelspec.prediction_type", "v");
    for (name, tensors, metadata, words) in [
        (
            "keys.safetensors",
            [&sdxl[..], &[("v_pred", empty), ("ztsnr", empty)]].concat(),
            None,
            &["v, as its tensor `v_pred` says", "zero terminal SNR, as its tensor `ztsnr`"][..],
        ),
        ("spec.safetensors", sdxl.to_vec(), Some(v), &["v, as modelspec.prediction_type says"]),
        (
            "lcm.safetensors",
            [&DIFFUSERS[..], &[told]].concat(),
            None,
            &["latent consistency", "guidance_embedding: 256"],
        ),
        (
            "ema.safetensors",
            [&ema[..], &[UNET, UNET_IN, KEYS]].concat(),
            None,
            &["Stable Diffusion 1's U-Net"],
        ),
        ("UPPER.SAFETENSORS", DIFFUSERS.to_vec(), None, &["Stable Diffusion 1's U-Net"]),
        ("x.sft", DIFFUSERS.to_vec(), None, &["Stable Diffusion 1's U-Net"]),
        (
            "flux-vae.safetensors",
            vec![
                ("decoder.mid.attn_1.q.weight", &[512, 512, 1, 1][..]),
                ("decoder.conv_in.weight", &[512, 16, 3, 3]),
            ],
            None,
            &["expected 4 latent channels, found 16"],
        ),
        (
            "half-a-loha.safetensors",
            vec![("lora_unet_conv_in.hada_w1_a", &[4, 320][..])],
            None,
            &["a LoHa", "no factor to be multiplied with"],
        ),
    ] {
        let path = folder.path().join(name);
        write(&path, &tensors, &metadata.into_iter().collect::<Vec<_>>());
        let said = doctor::diagnose(&path).unwrap();
        // Each of these is a part of a model alone.
        assert!(!said.problems.is_empty(), "{name}: {said}");
        let said = said.to_string();
        for word in words {
            assert!(said.contains(word), "{name}: expected {word:?} in {said}");
        }
    }
    let mut eight = fs::read(folder.path().join("spec.safetensors")).unwrap();
    let header = u64::from_le_bytes(*eight.first_chunk().unwrap()) as usize;
    let text = String::from_utf8(eight[8..8 + header].to_vec()).unwrap().replace("\"F16\"", "\"F8_E4M3\"");
    let halved = halved_offsets(&text);
    eight = [
        &(halved.len() as u64).to_le_bytes()[..],
        halved.as_bytes(),
        &vec![0; (eight.len() - 8 - header) / 2],
    ]
    .concat();
    let path = folder.path().join("fp8.safetensors");
    fs::write(&path, eight).unwrap();
    assert!(doctor::diagnose(&path).unwrap().to_string().contains("F8_E4M3, which is not read here"));
}

/// A header of tensors with half of their bytes.
fn halved_offsets(header: &str) -> String {
    let mut header: serde_json::Value = serde_json::from_str(header).unwrap();
    for (_, tensor) in header.as_object_mut().unwrap().iter_mut() {
        for offset in
            tensor.get_mut("data_offsets").and_then(serde_json::Value::as_array_mut).into_iter().flatten()
        {
            *offset = (offset.as_u64().unwrap() / 2).into();
        }
    }
    header.to_string()
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

/// What the doctor takes for a model that can be used, `sample` uses; what it does not, `sample` refuses with the same word.
#[test]
fn the_doctor_and_sample_agree() {
    let folder = tempfile::tempdir().unwrap();
    let pair: [(&str, &[usize]); 2] =
        [("lora_unet_conv_in.lora_down.weight", &[1, 4]), ("lora_unet_conv_in.lora_up.weight", &[320, 1])];
    let loha: [(&str, &[usize]); 4] = [
        ("lora_unet_conv_in.hada_w1_a", &[320, 1]),
        ("lora_unet_conv_in.hada_w1_b", &[1, 36]),
        ("lora_unet_conv_in.hada_w2_a", &[320, 1]),
        ("lora_unet_conv_in.hada_w2_b", &[1, 36]),
    ];
    let lokr: [(&str, &[usize]); 2] =
        [("lora_unet_conv_in.lokr_w1", &[32, 2]), ("lora_unet_conv_in.lokr_w2", &[10, 18])];
    let old: [(&str, &[usize]); 2] = [
        ("down_blocks.0.attn1.processor.to_q_lora.down.weight", &[1, 4]),
        ("down_blocks.0.attn1.processor.to_q_lora.up.weight", &[4, 1]),
    ];
    let controlnet =
        [&DIFFUSERS[..], &[("controlnet_cond_embedding.conv_in.weight", &[16, 3, 3, 3][..])]].concat();
    let refiner: [(&str, &[usize]); 3] = [
        ("model.diffusion_model.time_embed.0.weight", &[1536, 384]),
        ("model.diffusion_model.input_blocks.0.0.weight", &[384, 4, 3, 3]),
        ("model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", &[384, 1280]),
    ];
    for (name, tensors, is, in_both) in [
        ("lora", &pair[..], "a LoRA", "--lora"),
        ("loha", &loha, "a LoHa", "--lora"),
        ("lokr", &lokr, "a LoKr", "--lora"),
        ("old-lora", &old, "a LoRA", "--lora"),
        ("controlnet", &controlnet, "no model of its own", "a ControlNet"),
        ("inversion", &[("emb_params", &[4, 768][..])], "no model of its own", "a textual inversion"),
        (
            "inversion-xl",
            &[("clip_l", &[4, 768][..]), ("clip_g", &[4, 1280])],
            "no model of its own",
            "a textual inversion",
        ),
        (
            "flux",
            &[("double_blocks.0.img_attn.qkv.weight", &[2, 2][..])],
            "no model of its own",
            "a diffusion transformer",
        ),
        (
            "motion",
            &[("down_blocks.0.motion_modules.0.x.weight", &[2, 2][..])],
            "no model of its own",
            "a motion module",
        ),
    ] {
        let path = folder.path().join(format!("{name}.safetensors"));
        write(&path, tensors, &[]);
        let said = doctor::diagnose(&path).unwrap().to_string();
        assert!(said.contains(is) && said.contains(in_both), "{name}: {said}");
        let place = path.to_str().unwrap();
        let sample =
            ["sample", "configs/sd15.ron", "--prompt", "a", "--grid", "never.png", "--weights", place];
        refuses(&sample, 1, &[in_both]);
    }
    let path = folder.path().join("refiner.safetensors");
    write(&path, &refiner, &[]);
    let said = doctor::diagnose(&path).unwrap();
    assert!(said.problems.iter().any(|problem| problem.contains("refiner")), "{said}");

    // What is used: a model of this project, and the command that the doctor advises.
    let own = "configs/weights/emoji-student.safetensors";
    let output = add(&["doctor", own]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("sample RECIPE --weights FILE"), "{said}");
    let grid = folder.path().join("grid.png");
    let grid = grid.to_str().unwrap();
    let output = add(&["sample", "configs/emoji.ron", "--prompt", "a", "--weights", own, "--grid", grid]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Its export is a single file of Stable Diffusion, whatever its metadata says of this project.
    let exported = folder.path().join("exported.safetensors");
    write(&exported, &[UNET, UNET_IN, KEYS, VAE, TEXT], &[("add.format", "1"), ("add.recipe", "x")]);
    let said = doctor::diagnose(&exported).unwrap().to_string();
    assert!(
        said.contains("a single file of Stable Diffusion 1's U-Net") && said.contains("recipe x"),
        "{said}"
    );
    assert!(refusal(&exported, &[]).contains("missing"));
}
