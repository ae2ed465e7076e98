//! Devices and plans: what a machine without a GPU can show of them.

use std::path::{Path, PathBuf};

use add_core::{
    plan::{KernelKind, Measures, plan},
    read::read,
    recipe::slot::STUDENT,
};

use crate::{
    binary::{add, refuses},
    root,
};

/// The forward pass of a recipe's denoiser in floating-point operations, and the number of its parameters.
fn student(recipe: &str, sets: &[&str]) -> (f64, f64) {
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    let loaded = read(&root().join("configs").join(recipe), &sets).expect("a recipe");
    let plan = plan(&loaded, KernelKind::Fused).expect("a plan");
    let held = plan.held(&Measures::default());
    let student = held.iter().find(|held| held.role == STUDENT).expect("a student");
    (plan.forward_flops(), student.parameters)
}

#[test]
fn sd15_costs_what_was_published_and_its_attention() {
    let (flops, parameters) =
        student("add-m.ron", &["model.backbone=Sd15()", "text=ClipL(weights: \"nowhere\")"]);
    assert!((parameters - 859_520_964.0).abs() < 0.5, "{parameters}");
    // Kim et al. 2023 (BK-SDM) count 338.7 G multiplications with an addition in convolutions and linear maps at 64x64.
    // Scores and their products, 4 N M C by hand: five self-attentions each of 4,096 tokens in 320 channels, 1,024 in 640
    // and 256 in 1,280, one of 64, and as many to 77 tokens of text.
    let level = |n: f64, c: f64| 5.0 * 4.0 * n * (n + 77.0) * c;
    let attention =
        level(4096.0, 320.0) + level(1024.0, 640.0) + level(256.0, 1280.0) + level(64.0, 1280.0) / 5.0;
    let expected = 2.0 * 338.7e9 + attention;
    assert!((flops / expected - 1.0).abs() < 0.02, "{flops:e} for {expected:e}");
}

#[test]
fn a_plan_says_what_is_held_what_is_sent_and_what_fits() {
    let output = add(&["plan", "configs/add-m.ron", "--gpus", "8", "--memory", "80GB"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for word in [
        "a batch of 128 over 8 GPUs, 16 on each",
        // Values, gradients and average in f32, and twice that in moments.
        "865910724   f32    3.46 GB    3.46 GB    6.93 GB    3.46 GB",
        "feature network",
        "block checkpointing",
        "largest batch",
        "LoRA",
    ] {
        assert!(said.contains(word), "expected {word:?} in: {said}");
    }
    // What their comments say.
    for (recipe, device, card, gpus, memory) in [
        ("configs/add-m.ron", "Flex()", "80GB", "1", "takes 38 GB"),
        ("configs/add-m.ron", "Flex()", "80GB", "8", "takes 38 GB"),
        ("configs/add-xl.ron", "Flex()", "80GB", "1", "takes 60 GB"),
        ("configs/add-xl.ron", "Flex()", "80GB", "8", "42 GB on each of eight"),
        ("configs/add-m-24gb.ron", "Cuda(0)", "24GB", "1", "takes 16 GB"),
    ] {
        let device = format!("device={device}");
        let output = add(&["plan", recipe, "--gpus", gpus, "--memory", card, "--set", &device]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("fits with: as the recipe says"), "{said}");
        let row = said.lines().find(|line| line.starts_with("as the recipe says")).unwrap();
        let planned: f64 = row.split_whitespace().nth(6).unwrap().parse().unwrap();
        assert!(memory.contains(&format!("{planned:.0} GB")), "{recipe} on {gpus}: {row}");
        let text = std::fs::read_to_string(crate::root().join(recipe)).unwrap();
        assert!(text.contains(memory), "{recipe} says {memory}");
    }
    refuses(&["plan", "configs/add-m.ron", "--gpus", "3"], 2, &["--gpus", "128"]);
    refuses(&["plan", "configs/add-m.ron", "--memory", "80"], 2, &["80GB"]);
    refuses(&["plan", "configs/sd-turbo.ron"], 2, &["objective: Off()"]);
}

#[test]
fn a_device_that_is_not_built_in_is_refused_and_a_plan_for_it_is_made() {
    let device = ["--set", "device=Cuda(0)"];
    let sample = ["sample", "configs/emoji.ron", "--prompt", "a", "--grid", "never.png"];
    refuses(&[&sample[..], &device].concat(), 2, &["Cuda(0)", "`cuda`", "Flex()"]);
    // Built in, and no machine has so many.
    let beyond = ["--set", "device=Wgpu(4095)"];
    refuses(&[&sample[..], &beyond].concat(), 1, &["Wgpu(4095)", "such devices"]);
    refuses(&["parity", "configs", "--device", "Gpu(0)"], 2, &["Gpu(0)", "Wgpu(0)", "add devices"]);
    let output = add(&[&["plan", "configs/emoji.ron"][..], &device].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_devices_of_a_machine_are_listed_with_what_the_binary_lacks() {
    let output = add(&["devices"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for part in ["Flex()", "NdArray()", "f32", "bf16", "without the feature `cuda`"] {
        assert!(said.contains(part), "expected {part:?} in: {said}");
    }
    let output = add(&["devices", "--json"]);
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let names: Vec<&str> = all["devices"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|device| device["name"].as_str())
        .collect();
    assert_eq!(names[names.len() - 2..], ["Flex()", "NdArray()"], "GPUs first");
    assert_eq!(all["missing_features"], serde_json::json!(["cuda"]));
}

#[test]
fn auto_is_the_processor_where_no_gpu_is_made_of_hardware_and_says_so() {
    let listed = add(&["devices"]);
    if String::from_utf8_lossy(&listed.stdout).contains("Wgpu(0)") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let grid = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let sample = |device: &str, grid: &str| {
        let device = format!("device={device}");
        add(&[
            "sample",
            "configs/emoji.ron",
            "--prompt",
            "a red apple, noto emoji",
            "--grid",
            grid,
            "--set",
            &device,
        ])
    };
    let chosen = sample("Auto()", &grid("auto.png"));
    let said = String::from_utf8_lossy(&chosen.stderr);
    assert!(chosen.status.success() && said.contains("Auto() is Flex()"), "{said}");
    assert!(sample("Flex()", &grid("flex.png")).status.success());
    // In front of the pixels stands the recipe, which names the device.
    let pixels = |name: &str| {
        let bytes = std::fs::read(grid(name)).expect("a grid");
        let begin = bytes.windows(4).position(|name| name == b"IDAT").expect("pixels");
        bytes[begin..].to_vec()
    };
    assert!(pixels("auto.png") == pixels("flex.png"), "the same pictures");
}

#[test]
fn wgpu_has_no_bf16_and_a_recipe_that_asks_for_it_is_refused_by_its_line() {
    let sets = ["--set", "device=Wgpu(0)", "--set", "dtype=(codec: BF16)"];
    refuses(&[&["config", "check", "configs/emoji.ron"][..], &sets].concat(), 2, &["dtype", "bf16", "WGSL"]);
}

#[test]
fn the_check_of_a_gpu_runs_on_a_processor_in_small() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = folder.path().join("table.md");
    let fixtures: PathBuf = Path::new("crates/add-parity/tests/fixtures").join("unet");
    let output = add(&[
        "gpu-check",
        "--device",
        "Flex()",
        "--small",
        "--fixtures",
        fixtures.to_str().expect("a path"),
        "--out",
        table.to_str().expect("a path"),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = std::fs::read_to_string(table).expect("written");
    for word in ["| parity, unet | 96 passed, 0 failed", "a training step, batch 2 | 0.", "planned", "0.09 s"]
    {
        assert!(table.contains(word), "expected {word:?} in: {table}");
    }
    assert!(!table.contains("| not measured"), "{table}");
    refuses(&["gpu-check"], 2, &["`cuda`"]);
}

#[test]
fn a_recipe_turns_kernels_off_and_a_wrong_name_is_refused() {
    let path = root().join("configs/emoji.ron");
    let kernels = |set: &str| read(&path, &[set.to_owned()]).map(|loaded| loaded.recipe.kernels);
    assert!(kernels("seed=7").expect("a recipe").winograd);
    assert!(!kernels("kernels=(winograd: false)").expect("a recipe").winograd);
    assert!(kernels("seed=7").expect("a recipe").bf16_products);
    assert!(!kernels("kernels=(bf16_products: false)").expect("a recipe").bf16_products);
    assert!(kernels("kernels=(winogard: false)").is_err());
}
