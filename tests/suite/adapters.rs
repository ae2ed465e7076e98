//! A student that is its base with low-rank adapters: what is kept, what is merged, what is refused.

use std::{collections::BTreeMap, fs, path::Path, sync::atomic::AtomicBool};

use add_core::{
    read::LoadedRecipe,
    train::{ADAPTERS, model_path, network_sizes, train},
};
use add_train::run::StartFrom;
use add_weights::WeightsFile;

use crate::runs::{Quiet, go, student_with, teacher, whole_and_in_parts};

const RANK: usize = 2;
/// `alpha / rank` is 2.
const ADAPTER: &str = "model.adapter=Lora(rank: 2, alpha: 4.0)";

/// A run of adapters that learn fast, and whose average follows them.
fn adapted(steps: u64, teacher: &Path) -> LoadedRecipe {
    student_with(steps, teacher, &[ADAPTER, "objective.generator.lr=0.02", "objective.ema_half_life=1"])
}

fn names(path: &Path) -> Vec<String> {
    WeightsFile::open(path).unwrap().tensors().keys().cloned().collect()
}

/// Shape and values of every tensor.
fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let file = WeightsFile::open(path).unwrap();
    let values = |name: &String| file.floats::<f32>(name).unwrap();
    file.tensors().iter().map(|(name, info)| (name.clone(), (info.shape.clone(), values(name)))).collect()
}

#[test]
fn adapters_alone_are_kept_and_a_resumed_run_continues_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    whole_and_in_parts(&adapted(4, &at("teacher")), &at("whole"), &at("parts"));

    let checkpoint = at("whole").join("checkpoints/step-0000004");
    for file in ["student.safetensors", "ema.safetensors", "optimizer_g.safetensors"] {
        let names = names(&checkpoint.join(file));
        assert!(!names.is_empty() && names.iter().all(|name| name.contains(".lora.")), "{file}: {names:?}");
    }
}

#[test]
fn the_model_that_is_left_is_the_base_with_the_adapters_merged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    go(&adapted(4, &at("teacher")), &at("run"), &StartFrom::Fresh);
    let [base, merged] = ["teacher", "run"].map(|name| tensors(&model_path(&at(name))));
    let adapters = tensors(&at("run").join(ADAPTERS));
    assert_eq!(base.keys().collect::<Vec<_>>(), merged.keys().collect::<Vec<_>>());
    let mut changed = 0;
    for (name, (shape, before)) in &base {
        let layer = name.strip_prefix("denoiser.").and_then(|name| name.strip_suffix(".weight"));
        let factor = |end: &str| adapters.get(&format!("unet.{}.{end}.weight", layer?));
        let (Some((_, a)), Some((_, b))) = (factor("lora_A"), factor("lora_B")) else {
            assert_eq!(before, &merged[name].1, "{name} has no adapter");
            continue;
        };
        let columns: usize = shape[1..].iter().product();
        let product = |i: usize| {
            let (row, column) = (i / columns, i % columns);
            (0..RANK).map(|r| b[row * RANK + r] * a[r * columns + column]).sum::<f32>()
        };
        for (i, (before, after)) in crate::pairs(before, &merged[name].1).into_iter().enumerate() {
            // Both files are in half precision.
            let expected = before + product(i);
            assert!(
                (after - expected).abs() <= 2e-3 * (1.0 + expected.abs()),
                "{name}: {after} for {expected}"
            );
            changed += usize::from((after - before).abs() > 1e-3);
        }
    }
    assert!(changed > 1000, "{changed} weights have moved");
}

#[test]
fn another_base_is_refused_and_so_are_layers_that_there_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    go(&teacher(2), &at("other"), &StartFrom::Fresh);
    let refused = |loaded: &LoadedRecipe, start: &StartFrom| {
        train(loaded, &at("run"), start, &mut Quiet, &AtomicBool::new(false)).unwrap_err().to_string()
    };
    let nowhere = student_with(2, &at("teacher"), &["model.adapter=Lora(targets: [\"nowhere\"])"]);
    let said = refused(&nowhere, &StartFrom::Fresh);
    assert!(said.contains("adapter") && said.contains("nowhere"), "{said}");
    go(&adapted(2, &at("teacher")), &at("run"), &StartFrom::Fresh);
    fs::copy(model_path(&at("other")), model_path(&at("teacher"))).unwrap();
    let said = refused(&adapted(4, &at("teacher")), &StartFrom::Latest);
    assert!(
        said.contains("student's base: base weights differ: the adapters were trained on SHA-256"),
        "{said}"
    );
}

#[test]
fn adapters_are_counted_beside_a_base_that_is_held_once() {
    let folder = tempfile::tempdir().unwrap();
    go(&teacher(1), folder.path(), &StartFrom::Fresh);
    let loaded = adapted(1, folder.path());
    let sizes = network_sizes(&loaded).unwrap();
    let find = |name: &str| sizes.iter().find(|size| size.name == name).unwrap();
    let (student, adapters, teacher) = (find("student"), find("adapters"), find("teacher"));
    assert!(!student.trained && adapters.trained && teacher.shared);
    assert!(adapters.parameters > 0 && adapters.parameters < student.parameters);
    assert_eq!((student.parameters, teacher.bytes(1)), (teacher.parameters, 0));
}
