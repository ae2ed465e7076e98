//! `add` as a person calls it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use crate::root;

/// Cargo without what `cargo test` has told this process about its own package: ring's build script would run again, and half
/// of the workspace be compiled anew.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The release binary, built if need be.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let arguments = ["build", "--release", "-p", "add-cli", "--bin", "add", "--message-format=json"];
        let built = cargo().args(arguments).current_dir(root()).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let messages = String::from_utf8(built.stdout).unwrap();
        let parsed = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let executable = parsed.filter_map(|m| m["executable"].as_str().map(PathBuf::from)).next_back();
        executable.expect("cargo names the binary that it built")
    })
}

/// `add` with `arguments`: never over the network, and with a cache that is empty.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.env("NO_COLOR", "1").env("HF_HUB_OFFLINE", "1").env("HF_HOME", "/nonexistent-cache");
    command.args(arguments).current_dir(root());
    command
}

pub(crate) fn add(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs `add`, which must exit with `code`, say `words`, and not panic.
pub(crate) fn refuses(arguments: &[&str], code: i32, words: &[&str]) {
    let output = add(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: expected {word:?} in: {said}");
    }
}

const RECIPE: &str = "configs/emoji.ron";

#[test]
fn the_old_name_of_a_field_is_answered_with_its_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("old.ron");
    let text = std::fs::read_to_string(root().join(RECIPE)).unwrap();
    for (old, new) in [("shards", "replicas"), ("rounds", "gradient_accumulation")] {
        let says = format!("the field `{old}` is now called `{new}`");
        refuses(&["train", RECIPE, "--set", &format!("{old}=2")], 2, &[&says, "configs/emoji.ron:"]);
        let (before, after) = text.split_once("    batch: 16,").unwrap();
        std::fs::write(&recipe, format!("{before}    {old}: 1,{after}")).unwrap();
        let place = format!("old.ron:{}:5", before.matches('\n').count() + 1);
        refuses(&["config", "check", recipe.to_str().unwrap()], 2, &[&says, &place]);
    }
    // Tar shards keep their word.
    let data = "data=WebDataset(shards: [\"no/such/{0..1}.tar\"], size: 32)";
    let output = add(&["config", "check", RECIPE, "--set", data]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn bad_usage_and_bad_recipes_exit_with_2() {
    refuses(&["trian", RECIPE], 2, &["train"]);
    refuses(&["train", "configs/nowhere.ron"], 2, &["nowhere.ron"]);
    refuses(&["train", RECIPE, "--set", "batch"], 2, &["path=value"]);
    refuses(&["train", RECIPE, "--set", "batch=0"], 2, &["batch", "positive"]);
    let misspelt = "objective.distillation.weighting=Exponentail()";
    refuses(&["config", "check", RECIPE, "--set", misspelt], 2, &["Exponential", "did you mean"]);
    refuses(&["train", RECIPE, "--set", "device=Cuda(0)"], 2, &["cuda"]);
    refuses(&["train", RECIPE, "--ranks", "0"], 2, &["--ranks"]);
    refuses(
        &["train", RECIPE, "--ranks", "2"],
        2,
        &["rank ", " of 2 failed", "multiple of the 2 ranks, got 1"],
    );
    refuses(&["sample", RECIPE, "--prompt", "a", "--steps", "0", "--grid", "never.png"], 2, &["--steps"]);
}

#[test]
fn ranks_are_threads_or_processes_and_not_both() {
    let mut train = command(&["train", RECIPE, "--ranks", "2", "--set", "gradient_accumulation=2"]);
    let output = train.env("OMPI_COMM_WORLD_SIZE", "2").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("one of 2 processes") && said.contains("--ranks"), "{said}");
}

#[test]
fn missing_and_broken_files_exit_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.safetensors");
    fs::write(&broken, [0xFF; 64]).unwrap();
    let out = folder.path().join("run");
    let (broken, out) = (broken.to_str().unwrap(), out.to_str().unwrap());
    let sample = ["sample", RECIPE, "--prompt", "a", "--grid", "never.png", "--weights"];
    refuses(&[&sample[..], &["missing.safetensors"]].concat(), 1, &["missing.safetensors"]);
    refuses(&[&sample[..], &[broken]].concat(), 1, &["broken.safetensors"]);
    let weights = format!("model.weights=File({broken:?})");
    refuses(&["train", RECIPE, "--out", out, "--set", &weights], 1, &["broken.safetensors"]);
    refuses(&["train", RECIPE, "--out", out, "--resume", "latest"], 1, &["no checkpoint"]);
    refuses(&["train", RECIPE, "--out", out, "--resume", broken], 1, &["broken.safetensors"]);
}

#[test]
fn parity_answers_with_rows_and_an_exit_code() {
    let fixtures = root().join("crates/add-parity/tests/fixtures/openclip");
    let output = add(&["parity", fixtures.to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), said.lines().last()), (Some(0), Some("3 passed, 0 failed, 0 skipped")));
    let row = said.lines().find(|line| line.contains("out.text_features")).unwrap();
    assert!(row.starts_with("openclip/vit_l_14_quickgelu ") && row.ends_with(" ok"), "{row}");

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("openclip");
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(&fixtures).unwrap().map(Result::unwrap) {
        if !file.path().ends_with("vit_l_14_quickgelu.weights.safetensors") {
            fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
    }
    let output = add(&["parity", folder.path().to_str().unwrap(), "--quiet"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), said.lines().last()), (Some(1), Some("0 passed, 1 failed, 0 skipped")));
    assert!(said.contains("FAILED: vit_l_14_quickgelu.weights.safetensors is missing"), "{said}");

    refuses(&["parity", "nowhere"], 2, &["nowhere"]);
    refuses(&["parity", "configs"], 2, &["no fixture"]);
    refuses(&["parity", fixtures.to_str().unwrap(), "--family", "unet"], 2, &["openclip/vit_l_14_quickgelu"]);
}

#[test]
fn an_export_says_what_it_cannot_do_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let base = |run: &'static str| vec!["export", run, out, "--format", "diffusers"];
    refuses(&base(RECIPE), 2, &["Mini", "no counterpart"]);
    refuses(&base("configs/sd15.ron"), 1, &["stable-diffusion-v1-5", "by hand"]);
    refuses(&base("nowhere"), 2, &["nowhere"]);
    refuses(&["export", RECIPE, "configs", "--format", "ldm"], 2, &["configs holds something already"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_full_size_network_is_asked_for_by_name() {
    let outputs = "crates/add-parity/tests/fixtures/openclip/vit_l_14_quickgelu.io.safetensors";
    refuses(&["parity", "--full", "sd16_unet", outputs], 2, &["sd16_unet", "sd15_unet"]);
    refuses(&["parity", "--full", "sd15_unet", "nowhere.safetensors"], 2, &["nowhere.safetensors"]);
}

#[test]
fn the_same_seed_gives_the_same_picture() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = ["a.png", "b.png", "c.png"].map(|name| folder.path().join(name));
    for (picture, seed) in pictures.iter().zip(["7", "7", "8"]) {
        let grid = picture.to_str().unwrap();
        let output = add(&[
            "sample",
            RECIPE,
            "--prompt",
            "a red apple, noto emoji",
            "--steps",
            "1",
            "--seed",
            seed,
            "--grid",
            grid,
        ]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let [a, b, c] = pictures.map(|picture| fs::read(picture).unwrap());
    assert!(a == b && a != c);
}

#[test]
fn seeds_are_the_whole_numbers_of_64_bits() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a.png");
    let sample = ["sample", RECIPE, "--prompt", "a red apple", "--out", out.to_str().unwrap()];
    let words = ["--seed", "expected a whole number from 0 to 18446744073709551615"];
    for seed in
        [&["--seed", "-1"][..], &["--seed=-1"], &["--seed", "18446744073709551616"], &["--seed", "1.5"]]
    {
        refuses(&[&sample[..], seed].concat(), 2, &words);
        refuses(&[&["train", RECIPE][..], seed].concat(), 2, &words);
    }
    let largest = add(&[&sample[..], &["--seed", "18446744073709551615"]].concat());
    assert!(largest.status.success() && out.exists(), "{}", String::from_utf8_lossy(&largest.stderr));
    let recipe = add(&["train", RECIPE, "--dry-run", "--set", "seed=18446744073709551615"]);
    assert!(String::from_utf8_lossy(&recipe.stdout).contains("seed: 18446744073709551615"));
    // The same of other numbers: what is wrong is the number, not the option.
    for number in ["--guidance", "--steps", "--count", "--index"] {
        refuses(&[&sample[..], &[number, "-3"]].concat(), 2, &[number, "-3"]);
    }
}

#[test]
fn a_dry_run_counts_parameters_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let output = add(&["train", RECIPE, "--dry-run", "--out", out.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("student") && said.contains("MiB"), "{said}");
    assert!(!out.exists());
}
