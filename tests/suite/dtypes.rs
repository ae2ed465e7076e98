//! Networks that compute in bf16: what is rounded, what stays in f32, what is refused.

use std::{fs, path::Path};

use add_core::{
    read::{LoadedRecipe, read},
    train::model_path,
};
use add_train::run::StartFrom;
use add_weights::WeightsFile;
use burn::tensor::{bf16, f16};

use crate::{
    root,
    runs::{go, student_with, teacher, whole_and_in_parts},
};

const BF16: &str = "dtype=(model: BF16, teacher: BF16, codec: BF16, features: BF16)";

fn rounded(steps: u64, teacher: &Path, more: &[&str]) -> LoadedRecipe {
    student_with(steps, teacher, &[&[BF16], more].concat())
}

/// Rounds every value of a model to bf16; the file keeps them in half precision, whose digits are more.
fn round(model: &Path) {
    let file = WeightsFile::open(model).unwrap();
    assert!(file.tensors().values().all(|tensor| format!("{:?}", tensor.dtype) == "F16"));
    let mut bytes = fs::read(model).unwrap();
    let (length, rest) = bytes.split_first_chunk_mut().unwrap();
    let header = usize::try_from(u64::from_le_bytes(*length)).unwrap();
    for value in rest[header..].as_chunks_mut().0 {
        let short = bf16::from_f32(f16::from_le_bytes(*value).to_f32());
        *value = f16::from_f32(short.to_f32()).to_le_bytes();
    }
    fs::write(model, bytes).unwrap();
}

/// The losses of a run's first step.
fn losses(out: &Path) -> Vec<f64> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let values = first.as_object().unwrap();
    let is_loss = |name: &str| name.contains("loss") || name.contains("adv") || name.contains("distill");
    values.iter().filter(|(name, _)| is_loss(name)).filter_map(|(_, value)| value.as_f64()).collect()
}

#[test]
fn a_run_in_bf16_is_near_one_in_f32_and_resumes_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    // A processor that multiplies in bf16 rounds trained values too: both runs begin with rounded ones.
    round(&model_path(&at("teacher")));
    whole_and_in_parts(&rounded(4, &at("teacher"), &[]), &at("whole"), &at("parts"));
    go(&student_with(1, &at("teacher"), &[]), &at("wide"), &StartFrom::Fresh);

    let (got, want) = (losses(&at("whole")), losses(&at("wide")));
    assert!(!want.is_empty() && got.len() == want.len(), "{got:?} for {want:?}");
    assert_ne!(got, want, "bf16 leaves its mark");
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() < 0.03 * want.abs().max(0.1), "{got} for {want}");
    }
    let checkpoint = at("whole").join("checkpoints/step-0000004");
    for file in ["student.safetensors", "ema.safetensors", "heads.safetensors"] {
        let file = WeightsFile::open(checkpoint.join(file)).unwrap();
        assert!(file.tensors().values().all(|tensor| format!("{:?}", tensor.dtype) == "F32"));
    }
}

#[test]
fn adapters_beside_a_rounded_base_leave_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    let adapter = "model.adapter=Lora(rank: 2, alpha: 4.0)";
    whole_and_in_parts(&rounded(4, &at("teacher"), &[adapter]), &at("whole"), &at("parts"));
    assert!(model_path(&at("whole")).exists());
}

#[test]
fn an_average_in_the_computers_memory_is_the_same_average() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    go(&teacher(1), &at("teacher"), &StartFrom::Fresh);
    for (name, home) in [("device", "Device"), ("host", "Host")] {
        let home = format!("objective.ema_home={home}");
        go(&student_with(2, &at("teacher"), &[&home]), &at(name), &StartFrom::Fresh);
    }
    for file in ["student.safetensors", "ema.safetensors", "optimizer_g.safetensors"] {
        let [device, host] = ["device", "host"]
            .map(|name| fs::read(at(name).join("checkpoints/step-0000002").join(file)).unwrap());
        assert!(device == host, "{file} differs");
    }
}

#[test]
fn what_cannot_be_rounded_is_refused() {
    for (sets, part) in [
        (["dtype=(text: BF16)", "batch=8"], "part of the model that is trained"),
        (["dtype=(model: BF16)", "device=NdArray()"], "does not support bf16"),
        (["dtype=(model: F16)", "batch=8"], "F16"),
    ] {
        let sets = sets.map(str::to_owned);
        let error = read(&root().join("configs/emoji.ron"), &sets).expect_err(part);
        assert!(format!("{error:?}{error}").contains(part), "{part}: {error}");
    }
}
