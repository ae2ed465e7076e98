//! The life of a run by its commands: begun, gone on with, changed, kept, merged, exported.

use std::{fs, path::Path};

use add_weights::WeightsFile;

use crate::{
    binary::{add, refuses},
    hostile::TINY,
    pictures::Runs,
};

const DATA: &str = "ImageFolder(path: \"pics\", size: 8)";

/// A recipe on four pictures for three steps, and the place of its run.
fn small() -> (Runs, String, String) {
    let runs = Runs::new();
    for i in 0..4 {
        runs.picture(&format!("pics/{i}.png"));
    }
    runs.write("recipe.ron", TINY.replace("DATA", DATA).replace("steps: 1)", "steps: 3)"));
    let at = |name: &str| runs.path(name).display().to_string();
    let (recipe, out) = (at("recipe.ron"), at("run"));
    (runs, recipe, out)
}

/// Runs `add`, which must succeed.
#[track_caller]
fn fine(arguments: &[&str]) -> String {
    let output = add(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("panicked"), "{arguments:?}: {said}");
    said
}

fn checkpoints(out: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(out).join("checkpoints")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_run_is_begun_gone_on_with_and_never_mixed_with_another() {
    let (runs, recipe, out) = small();
    let train = ["train", &recipe, "--out", &out];
    let with = |more: &[&'static str]| [&train[..], more].concat();
    refuses(&with(&["--resume", "latest"]), 1, &["no checkpoint to resume from", "--resume auto"]);
    fine(&with(&["--resume", "auto"]));
    refuses(&train, 1, &["this run has checkpoints", "--resume auto", "--out FOLDER"]);
    // It is done: nothing is left to do, and nothing of it changes.
    let model = fs::read(runs.path("run/model.safetensors")).unwrap();
    fine(&with(&["--resume", "latest"]));
    assert_eq!(fs::read(runs.path("run/model.safetensors")).unwrap(), model);
    fine(&with(&["--resume", "latest", "--set", "run.steps=6"]));
    assert_eq!(checkpoints(&out).last().unwrap(), "step-0000006");
    for change in
        [&["--set", "objective=Diffusion(caption_dropout: 0.5)"][..], &["--set", "batch=3"], &["--seed", "5"]]
    {
        let more = [&["--resume", "latest", "--set", "run.steps=9"][..], change].concat();
        refuses(&with(&more), 1, &["written under another recipe", "recipe.ron"]);
    }
    assert_eq!(checkpoints(&out).last().unwrap(), "step-0000006", "a refused run leaves the other alone");
    refuses(&with(&["--resume", "elsewhere"]), 1, &["elsewhere"]);
}

#[test]
fn the_last_checkpoints_are_kept_in_the_order_of_their_numbers() {
    let (_runs, recipe, out) = small();
    let many = "run=(steps: 12, checkpoint_every: 1, keep: 3)";
    fine(&["train", &recipe, "--out", &out, "--set", many]);
    assert_eq!(checkpoints(&out), ["step-0000010", "step-0000011", "step-0000012"]);
    let none = ["train", &recipe, "--out", &out, "--set", "run=(steps: 4, keep: 0)"];
    refuses(&none, 2, &["run.keep: expected a positive number, got 0"]);
}

#[test]
fn a_run_without_steps_leaves_the_model_that_it_began_with() {
    let (runs, recipe, out) = small();
    fine(&["train", &recipe, "--out", &out, "--set", "run.steps=0"]);
    assert!(WeightsFile::open(runs.path("run/model.safetensors")).is_ok());
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_any_work() {
    let (runs, recipe, _) = small();
    runs.write("file", "x");
    let [file, below] = ["file", "file/below"].map(|name| runs.path(name).display().to_string());
    for (out, words) in [(&*file, "is a file"), (&below, "nothing can be written"), ("/proc/x/y", "/proc")] {
        let (words, code) = ([words, out], if out == file { 2 } else { 1 });
        refuses(&["train", &recipe, "--out", out], code, &words);
        // None of these models is there: whoever looks at one first says that.
        refuses(&["eval", &recipe, "--weights", "no.safetensors", "--out", out], code, &words);
        refuses(&["man", out], code, &words);
    }
    for (out, words) in [(&*file, "already"), (&below, "nothing can be written"), ("/proc/x/y", "/proc")] {
        let code = if out == file { 2 } else { 1 };
        refuses(&["export", "configs/sd15.ron", out, "--format", "ldm"], code, &[words, out]);
    }
}

/// The model of a run is its base and B A times alpha / rank, which is counted in the LoRA's file.
#[test]
fn the_model_of_a_run_is_its_base_and_its_lora() {
    let (runs, recipe, out) = small();
    let base = runs.path("base").display().to_string();
    fine(&["train", &recipe, "--out", &base]);
    let weights = format!("model.weights=File({:?})", runs.path("base/model.safetensors"));
    let adapter = "model.adapter=Lora(rank: 2, alpha: 8, targets: [])";
    let student = "objective=Consistency(target: Student, guidance: Fixed(2.0), optimizer: (lr: 1e-2, warm_up: 0), ema_half_life: 1)";
    let sets = ["--set", &weights, "--set", adapter, "--set", student, "--set", "run.steps=15"];
    fine(&[&["train", &recipe, "--out", &out][..], &sets].concat());
    let open = |name: &str| WeightsFile::open(runs.path(name)).unwrap();
    let (base, merged) = (open("base/model.safetensors"), open("run/model.safetensors"));
    let lora = open("run/pytorch_lora_weights.safetensors");
    let values = |file: &WeightsFile, name: &str| file.floats::<f64>(name).unwrap();
    let (mut layers, mut along, mut square) = (0, 0.0, 0.0);
    for name in lora.tensors().keys() {
        let Some(layer) = name.strip_suffix(".lora_A.weight") else { continue };
        let weight = format!("denoiser.{}.weight", layer.strip_prefix("unet.").unwrap());
        if merged.info(&weight).unwrap().shape.len() != 2 {
            continue;
        }
        let (a, b) = (values(&lora, name), values(&lora, &format!("{layer}.lora_B.weight")));
        let change: Vec<f64> = values(&merged, &weight)
            .iter()
            .zip(values(&base, &weight))
            .map(|(merged, base)| merged - base)
            .collect();
        let (rows, columns) = (b.len() / 2, a.len() / 2);
        let product =
            |at: usize| (0..2).map(|k| b[at / columns * 2 + k] * a[k * columns + at % columns]).sum();
        let product: Vec<f64> = (0..rows * columns).map(product).collect();
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        along += dot(&change, &product);
        square += dot(&product, &product);
        layers += 1;
    }
    // Models are written in half precision, so that a layer alone may have changed by less than its rounding.
    let ratio = along / square;
    assert!((ratio - 1.0).abs() < 0.02, "{ratio}");
    assert!(layers > 4, "{layers}");
}

#[test]
fn an_export_says_why_there_is_none() {
    let (runs, recipe, out) = small();
    let to = runs.path("export").display().to_string();
    let export = |from: &str, code: i32, words: &[&str]| {
        for format in ["diffusers", "ldm"] {
            refuses(&["export", from, &to, "--format", format], code, words);
            assert!(!runs.path("export").exists());
        }
    };
    export(&out, 2, &["run"]);
    fine(&["train", &recipe, "--out", &out]);
    export(&out, 2, &["Mini", "no counterpart in diffusers", "all that `sample` needs"]);
    export(&recipe, 2, &["Mini"]);
    fs::remove_file(runs.path("run/model.safetensors")).unwrap();
    export(&out, 1, &["model.safetensors", "the run has left no model yet", "finish it"]);
    fs::remove_file(runs.path("run/recipe.ron")).unwrap();
    export(&out, 2, &["recipe.ron"]);
}
