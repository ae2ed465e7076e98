//! LoRAs of other programs and of this one: the same change under every name, merged, refused, written for others.

use std::{collections::BTreeMap, fs, path::Path};

use add_core::{
    assemble,
    export::{LoraNames, Precision, lora as export_lora},
    lora::{Lora, onto_sampled},
    model_file::ModelCard,
    read::{self, LoadedRecipe},
    train::{ADAPTERS, model_path},
};
use add_plugin::Network;
use add_train::run::StartFrom;
use add_weights::{NamedTensor, WeightsFile, named_tensors, save};
use burn::tensor::{Device, Tensor};

use crate::{
    binary::{add, refuses},
    pairs, root,
    runs::{go, student_with, teacher},
};

/// A layer of the shipped student, `[64, 12, 3, 3]`, and its number of inputs.
const LAYER: &str = "denoiser.unet.conv_in";
const INPUTS: usize = 12 * 9;
const OUTPUTS: usize = 64;

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn write(path: &Path, tensors: &Tensors) {
    let named = |(name, shape, values): &(String, Vec<usize>, Vec<f32>)| {
        let values = Tensor::from_data(values.as_slice(), &Device::flex());
        (name.clone(), NamedTensor { shape: shape.clone(), values })
    };
    save(path, &tensors.iter().map(named).collect(), Precision::F32, &BTreeMap::new()).unwrap();
}

/// Waves that change a picture and do not destroy it.
fn waves(count: usize, rate: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * rate).sin() * 0.3).collect()
}

/// A change of rank 1 under the names of `down`, `up` and `alpha`; with an alpha of 2 its factor is half as large.
fn change(down: &str, up: &str, alpha: Option<&str>) -> Tensors {
    let half = if alpha.is_some() { 0.5 } else { 1.0 };
    let b = waves(OUTPUTS, 1.1).into_iter().map(|v| v * half).collect();
    let mut all = vec![
        (down.to_owned(), vec![1, 12, 3, 3], waves(INPUTS, 0.7)),
        (up.to_owned(), vec![OUTPUTS, 1, 1, 1], b),
    ];
    all.extend(alpha.map(|alpha| (alpha.to_owned(), vec![], vec![2.0])));
    all
}

fn picture(out: &Path, more: &[&str]) -> Vec<u8> {
    let base = [
        "sample",
        "configs/emoji.ron",
        "--prompt",
        "a red apple",
        "--seed",
        "3",
        "--overwrite",
        "--out",
        out.to_str().unwrap(),
    ];
    let output = add(&[&base[..], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    image::open(out.join("0000.png")).unwrap().to_rgb8().into_raw()
}

fn largest(a: &[u8], b: &[u8]) -> u8 {
    pairs(a, b).into_iter().map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn the_same_change_makes_the_same_picture_under_every_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let plain = picture(&at("plain"), &[]);
    let kohya = format!("lora_unet_{}", LAYER.replace('.', "_"));
    let whole: Vec<f32> =
        waves(OUTPUTS, 1.1).iter().flat_map(|b| waves(INPUTS, 0.7).into_iter().map(move |a| a * b)).collect();
    let namings: [(&str, Tensors); 6] = [
        (
            "peft",
            change(&format!("unet.{LAYER}.lora_A.weight"), &format!("unet.{LAYER}.lora_B.weight"), None),
        ),
        (
            "old",
            change(&format!("unet.{LAYER}.lora.down.weight"), &format!("unet.{LAYER}.lora.up.weight"), None),
        ),
        (
            "kohya",
            change(
                &format!("{kohya}.lora_down.weight"),
                &format!("{kohya}.lora_up.weight"),
                Some(&format!("{kohya}.alpha")),
            ),
        ),
        (
            "bare",
            change(
                &format!("base_model.model.{LAYER}.lora_A.weight"),
                &format!("base_model.model.{LAYER}.lora_B.weight"),
                None,
            ),
        ),
        ("difference", vec![(format!("{kohya}.diff"), vec![OUTPUTS, 12, 3, 3], whole.clone())]),
        (
            "lokr",
            vec![
                (format!("{kohya}.lokr_w1"), vec![1, 1], vec![2.0]),
                (
                    format!("{kohya}.lokr_w2"),
                    vec![OUTPUTS, 12, 3, 3],
                    whole.iter().map(|v| v / 2.0).collect(),
                ),
            ],
        ),
    ];
    let mut changed: Option<Vec<u8>> = None;
    for (name, tensors) in &namings {
        let file = at(&format!("{name}.safetensors"));
        write(&file, tensors);
        let place = file.to_str().unwrap();
        let made = picture(&at(name), &["--lora", place]);
        let expected = changed.get_or_insert_with(|| made.clone());
        assert!(largest(&made, expected) <= 1, "{name}");
        assert!(largest(&made, &plain) > 4, "{name} changes the picture");
        assert_eq!(picture(&at("none"), &["--lora", &format!("{place}:0")]), plain, "{name} at a scale of 0");
    }
    // Two halves are a whole.
    let half = format!("{}:0.5", at("peft.safetensors").display());
    let made = picture(&at("halves"), &["--lora", &half, "--lora", &half]);
    assert!(largest(&made, &changed.unwrap()) <= 1);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lora.safetensors");
    let place = file.to_str().unwrap();
    let sample = ["sample", "configs/emoji.ron", "--prompt", "a", "--grid", "never.png", "--lora"];
    let refused = |tensors: &Tensors, words: &[&str]| {
        write(&file, tensors);
        refuses(&[&sample[..], &[place]].concat(), 1, words);
    };
    let pair =
        |layer: &str| change(&format!("{layer}.lora_down.weight"), &format!("{layer}.lora_up.weight"), None);
    refused(&pair("lora_unet_nowhere"), &["lora_unet_nowhere.lora_down.weight", "no place", "another model"]);
    refused(&pair("lora_unet_denoiser_unet_conv_out"), &["[64, 108]", "conv_out"]);
    refused(&pair("lora_te1_text_model_encoder_layers_0_mlp_fc1"), &["text encoder Mini has not"]);
    let mut strange = pair(&format!("lora_unet_{}", LAYER.replace('.', "_")));
    strange.push((format!("unet.{LAYER}.lora_magnitude_vector"), vec![1], vec![1.0]));
    refused(&strange, &["lora_magnitude_vector", "would not count whole"]);
    // A GLoRA, and an OFT.
    let of_layer = |end: &str| format!("lora_unet_{}.{end}", LAYER.replace('.', "_"));
    for end in ["a1.weight", "oft_blocks"] {
        refused(&vec![(of_layer(end), vec![1], vec![1.0])], &["no LoRA", end, "something else"]);
    }
    refuses(&[&sample[..], &["no/such.safetensors"]].concat(), 1, &["no/such.safetensors"]);
    refuses(&[&sample[..], &["hf://x:1"]].concat(), 1, &["not a valid weights location"]);
    write(&file, &pair("lora_unet_x"));
    let weights = ["sample", "configs/emoji.ron", "--prompt", "a", "--grid", "never.png", "--weights", place];
    refuses(&weights, 1, &["it is a LoRA", "--lora"]);
}

fn loaded_values(network: &dyn Network) -> BTreeMap<String, Vec<f32>> {
    named_tensors(network)
        .into_iter()
        .map(|(name, tensor)| (name, tensor.values.into_data().iter::<f32>().collect()))
        .collect()
}

fn close(a: &BTreeMap<String, Vec<f32>>, b: &BTreeMap<String, Vec<f32>>) -> bool {
    assert_eq!(a.len(), b.len());
    // Model files are in half precision.
    pairs(a.values().flatten(), b.values().flatten())
        .into_iter()
        .all(|(a, b)| (a - b).abs() <= 2e-3 * (1.0 + a.abs()))
}

#[test]
fn the_adapters_of_a_run_are_a_lora_for_its_base() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    let sets = [
        "model.adapter=Lora(rank: 2, alpha: 4.0)",
        "objective.generator.lr=0.02",
        "objective.ema_half_life=1",
    ];
    let run = student_with(4, &at("teacher"), &sets);
    go(&run, &at("run"), &StartFrom::Fresh);

    let lora = Lora::parse(at("run").join(ADAPTERS).to_str().unwrap()).unwrap();
    let with = |change: &dyn Fn(&mut LoadedRecipe)| {
        let mut loaded = student_with(4, &at("teacher"), &[]);
        change(&mut loaded);
        let mut model = assemble::untrained(&loaded, &loaded.recipe.model, Vec::new()).unwrap();
        onto_sampled(&loaded, &mut model).unwrap();
        loaded_values(&*model.denoiser)
    };
    let trained = assemble::sampled(&run, &model_path(&at("run"))).unwrap();
    let trained = loaded_values(&*trained.denoiser);
    let base = with(&|_| {});
    assert!(!close(&base, &trained), "training has changed something");
    assert!(
        close(&with(&|loaded| loaded.recipe.sampling.loras.push(lora.clone())), &trained),
        "for sampling"
    );
    assert!(close(&with(&|loaded| loaded.recipe.model.loras.push(lora.clone())), &trained), "as a start");

    // A student that begins there is a run of its own, and no file of it names a folder of this machine.
    let text = format!("model.loras=[\"{}\"]", at("run").join(ADAPTERS).display());
    let next = student_with(1, &at("teacher"), &[&text, sets[0]]);
    go(&next, &at("next"), &StartFrom::Fresh);
    for file in [model_path(&at("next")), at("next").join(ADAPTERS)] {
        let fields = format!("{:?}", ModelCard::of(&file).unwrap().fields());
        assert!(!fields.contains(folder.path().to_str().unwrap()), "{fields}");
    }
    refuses(&["doctor", "no/such/lora.safetensors"], 1, &["no/such"]);
    let output = add(&["doctor", at("run").join(ADAPTERS).to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("a LoRA") && said.contains("--lora"), "{said}");
}

const SD15: &str = r#"(
    name: "fox", data: ImageFolder(path: "pictures", size: 512),
    codec: KlVae(weights: "hf://o/base/vae", scaling_factor: 0.18215),
    text: ClipL(weights: "hf://o/base/text_encoder"),
    model: (
        backbone: BACKBONE, schedule: ZeroTerminalSnr(inner: ScaledLinear()), weights: Diffusers("hf://o/base"),
        adapter: Lora(rank: 2, alpha: 6.0),
    ),
    objective: Consistency(target: Student, guidance: Fixed(7.5)), sampling: (sampler: AddRefine(), steps: 1),
)"#;

/// The folder of a run that trained adapters on two layers of a released model.
fn released_run(folder: &Path, backbone: &str, text: &str) -> LoadedRecipe {
    let recipe =
        SD15.replace("BACKBONE", backbone).replace("ClipL(weights: \"hf://o/base/text_encoder\")", text);
    fs::write(folder.join("recipe.ron"), recipe).unwrap();
    let pair = |layer: &str| {
        [("lora_A", 3.0), ("lora_B", 6.0)]
            .map(|(end, value)| (format!("unet.{layer}.{end}.weight"), vec![1, 1], vec![value]))
    };
    let tensors = [
        pair("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0"),
        pair("mid_block.resnets.0.time_emb_proj"),
    ];
    write(&folder.join(ADAPTERS), &tensors.into_iter().flatten().collect());
    let loaded = read::read(&folder.join("recipe.ron"), &[]).unwrap();
    let card = ModelCard::new(&loaded.recipe, &loaded.recipe.model, &[249, 499, 749, 999], 80);
    save(&model_path(folder), &BTreeMap::new(), Precision::F16, card.fields()).unwrap();
    loaded
}

#[test]
fn a_lora_leaves_in_kohyas_names_with_its_alpha_and_its_base() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    let text = "ClipLBigG(weights: \"hf://o/base\")";
    for (backbone, encoder, layer, version, architecture) in [
        (
            "Sd15(prediction: V)",
            "ClipL(weights: \"hf://o/base/text_encoder\")",
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0",
            "sd_v1_v",
            "stable-diffusion-v1/lora",
        ),
        // kohya's tools train SDXL under Stable Diffusion's own names.
        (
            "Sdxl(prediction: V)",
            text,
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_out_0",
            "sdxl_base_v1-0",
            "stable-diffusion-xl-v1-base/lora",
        ),
    ] {
        let loaded = released_run(&run, backbone, encoder);
        let out = folder.path().join(version);
        let files = export_lora(&loaded, &run, LoraNames::Kohya, Precision::F16, &out).unwrap();
        assert_eq!(files, [out.join("fox.safetensors"), out.join("README.md")]);
        let file = WeightsFile::open(&files[0]).unwrap();
        assert_eq!(file.tensors().len(), 6);
        let number = |end: &str| file.floats::<f32>(&format!("{layer}.{end}")).unwrap()[0];
        // B counts alpha / rank = 3 in a run's file; here alpha says it.
        for (end, expected) in [("alpha", 6.0), ("lora_down.weight", 3.0), ("lora_up.weight", 2.0)] {
            assert!((number(end) - expected).abs() < 1e-6, "{layer}.{end}");
        }
        assert_eq!(file.info(&format!("{layer}.alpha")).unwrap().shape, [0_usize; 0]);
        for (field, value) in [
            ("ss_network_dim", "2"),
            ("ss_network_alpha", "6"),
            ("ss_network_module", "networks.lora"),
            ("ss_base_model_version", version),
            ("ss_v_parameterization", "True"),
            ("ss_zero_terminal_snr", "True"),
            ("ss_sd_model_name", "o/base"),
            ("modelspec.architecture", architecture),
            ("modelspec.prediction_type", "v"),
            ("add.student_timesteps", "249,499,749,999"),
        ] {
            assert_eq!(file.metadata().get(field).map(String::as_str), Some(value), "{field}");
        }
        let card = fs::read_to_string(&files[1]).unwrap();
        assert!(card.starts_with("---\n") && card.contains("base_model: o/base\n"), "{card}");
    }
    let loaded = released_run(&run, "Sd15(prediction: V)", "ClipL(weights: \"hf://o/base/text_encoder\")");
    let out = folder.path().join("peft");
    let files = export_lora(&loaded, &run, LoraNames::Peft, Precision::F32, &out).unwrap();
    let file = WeightsFile::open(&files[0]).unwrap();
    assert!(files[0].ends_with("pytorch_lora_weights.safetensors") && file.tensors().len() == 4);
    assert_eq!(file.floats::<f32>("unet.mid_block.resnets.0.time_emb_proj.lora_B.weight").unwrap(), [6.0]);
    let again = export_lora(&loaded, &run, LoraNames::Peft, Precision::F32, &out).unwrap_err().to_string();
    assert!(again.contains("holds something already"), "{again}");
    refuses(
        &["export", "configs/sd15.ron", out.join("x").to_str().unwrap(), "--format", "kohya"],
        2,
        &["a run"],
    );
}

/// Layers of a small network in diffusers' names.
#[test]
fn a_lora_is_merged_into_files_of_other_programs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let unet: Tensors = vec![
        ("time_embedding.linear_1.weight".to_owned(), vec![2, 2], vec![1.0; 4]),
        ("conv_in.weight".to_owned(), vec![2, 1, 1, 1], vec![1.0, 2.0]),
    ];
    write(&at("unet.safetensors"), &unet);
    let lora: Tensors = vec![
        ("lora_unet_conv_in.lora_up.weight".to_owned(), vec![2, 1, 1, 1], vec![10.0, 20.0]),
        ("lora_unet_conv_in.lora_down.weight".to_owned(), vec![1, 1, 1, 1], vec![1.0]),
    ];
    write(&at("lora.safetensors"), &lora);
    let path = |name: &str| at(name).to_str().unwrap().to_owned();
    let merge = |model: &str, out: &str| {
        let lora = format!("{}:0.5", path("lora.safetensors"));
        let output = add(&["merge", &path(model), "--lora", &lora, "--out", &path(out)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    merge("unet.safetensors", "merged.safetensors");
    let check = |name: &str| {
        let file = WeightsFile::open(at(name)).unwrap();
        assert_eq!(file.floats::<f32>("conv_in.weight").unwrap(), [6.0, 12.0], "{name}");
        assert_eq!(file.floats::<f32>("time_embedding.linear_1.weight").unwrap(), [1.0; 4], "{name}");
        assert_eq!(file.metadata()["add.merged"], "lora.safetensors:0.5");
    };
    check("merged.safetensors");
    // A pipeline keeps everything else.
    for part in ["pipe/unet", "pipe/vae"] {
        fs::create_dir_all(at(part)).unwrap();
    }
    fs::write(at("pipe/model_index.json"), "{}").unwrap();
    fs::write(at("pipe/unet/config.json"), "{}").unwrap();
    fs::write(at("pipe/vae/diffusion_pytorch_model.safetensors"), "kept").unwrap();
    write(&at("pipe/unet/diffusion_pytorch_model.fp16.safetensors"), &unet);
    merge("pipe", "whole");
    check("whole/unet/diffusion_pytorch_model.fp16.safetensors");
    assert_eq!(fs::read_to_string(at("whole/vae/diffusion_pytorch_model.safetensors")).unwrap(), "kept");
    assert!(at("whole/model_index.json").exists() && at("whole/unet/config.json").exists());

    let refused = |model: &str, out: &str, words: &[&str]| {
        let (model, lora, out) = (path(model), path("lora.safetensors"), path(out));
        refuses(&["merge", &model, "--lora", &lora, "--out", &out], 1, words);
    };
    refused("unet.safetensors", "merged.safetensors", &["there already"]);
    refused("lora.safetensors", "x", &["it is a LoRA"]);
    refused("nowhere", "x", &["nowhere"]);
    write(&at("other.safetensors"), &vec![unet[0].clone()]);
    refused("other.safetensors", "x", &["lora_unet_conv_in.lora_down.weight", "no place"]);
    assert!(!at("x").exists() && !at("x.partial").exists());
    let missing = root().join("configs/emoji.ron");
    refuses(&["merge", missing.to_str().unwrap(), "--out", &path("x")], 2, &["--lora"]);
}
