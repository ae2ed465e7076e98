//! The doctor on made-up files: names and shapes are what it looks at.

use std::{fs, path::Path};

use super::diagnose;

/// Writes a file of empty-handed tensors: their shapes are real, their values absent, so it is a sparse file.
fn write(path: &Path, dtype: &str, tensors: &[(&str, &[usize])]) {
    let size = if dtype == "F32" { 4 } else { 2 };
    let mut end = 0;
    let entries: Vec<String> = tensors
        .iter()
        .map(|(name, shape)| {
            let start = end;
            end += size * shape.iter().product::<usize>();
            format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#)
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()).expect("written");
    let file = fs::OpenOptions::new().write(true).open(path).expect("there");
    file.set_len((8 + header.len() + end) as u64).expect("sparse");
}

const UNET_21: [(&str, &[usize]); 3] = [
    ("conv_in.weight", &[320, 4, 3, 3]),
    ("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight", &[320, 1024]),
    ("time_embedding.linear_1.weight", &[1280, 320]),
];

fn report(path: &Path) -> String {
    diagnose(path).expect("readable").to_string()
}

fn check(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "expected {word:?} in: {said}");
    }
}

#[test]
fn a_pipeline_is_told_part_by_part_with_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("my-turbo");
    write(&root.join("unet/diffusion_pytorch_model.fp16.safetensors"), "F16", &UNET_21);
    let text: [(&str, &[usize]); 3] = [
        ("text_model.embeddings.token_embedding.weight", &[49408, 1024]),
        ("text_model.encoder.layers.22.mlp.fc1.bias", &[4096]),
        ("text_model.final_layer_norm.weight", &[1024]),
    ];
    write(&root.join("text_encoder/model.safetensors"), "F16", &text);
    fs::write(root.join("model_index.json"), r#"{"_class_name": "StableDiffusionPipeline"}"#)
        .expect("written");
    fs::create_dir(root.join("scheduler")).expect("made");
    let scheduler = r#"{"_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction", "timestep_spacing": "trailing"}"#;
    fs::write(root.join("scheduler/scheduler_config.json"), scheduler).expect("written");
    check(
        &report(&root),
        &[
            "a diffusers pipeline (StableDiffusionPipeline) with Stable Diffusion 2's U-Net",
            "backbone: Sd21()",
            "prediction   v_prediction",
            "EulerDiscreteScheduler, spacing trailing",
            "F16 (3 tensors)",
            "limits commercial use",
            "expected 686 tensors, found 3",
            "problem      vae/ is missing",
            "OpenClipH",
        ],
    );
    fs::write(root.join("README.md"), "---\nlicense: openrail++\n---\n# A model").expect("written");
    check(&report(&root), &["licence      openrail++"]);
}

#[test]
fn a_single_file_is_told_by_its_networks() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("v1.safetensors");
    write(
        &path,
        "F32",
        &[
            ("model.diffusion_model.time_embed.0.weight", &[1280, 320]),
            ("model.diffusion_model.input_blocks.0.0.weight", &[320, 9, 3, 3]),
            ("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", &[320, 768]),
            ("first_stage_model.decoder.mid.attn_1.q.weight", &[512, 512, 1, 1]),
            ("first_stage_model.decoder.conv_in.weight", &[512, 4, 3, 3]),
        ],
    );
    check(
        &report(&path),
        &[
            "a single file of Stable Diffusion 1's U-Net",
            "Stable Diffusion's autoencoder: 2 tensors",
            "inpainting",
            "no CLIP ViT-L's text encoder",
            "epsilon in all releases",
            "Open RAIL-M",
        ],
    );
}

#[test]
fn what_is_no_model_is_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, tensor: &str| {
        let path = folder.path().join(name);
        write(&path, "BF16", &[(tensor, &[2, 2])]);
        report(&path)
    };
    check(&file("lora.safetensors", "unet.down.lora_A.weight"), &["a LoRA", "BF16"]);
    check(&file("flux.safetensors", "double_blocks.0.img_attn.qkv.weight"), &["diffusion transformer"]);
    check(&file("other.safetensors", "x"), &["no naming that is known", "1: x"]);
    assert!(diagnose(&folder.path().join("nowhere")).is_err());
}

#[test]
fn vision_transformers_and_tiny_autoencoders_are_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let dino: [(&str, &[usize]); 3] = [
        ("patch_embed.proj.weight", &[384, 3, 14, 14]),
        ("blocks.11.norm1.weight", &[384]),
        ("register_tokens", &[1, 4, 384]),
    ];
    write(&path, "F32", &dino);
    check(
        &report(folder.path()),
        &["a vision transformer", "width 384, patches of 14 pixels, with registers"],
    );
    write(
        &path,
        "F32",
        &[("decoder.layers.0.weight", &[64, 4, 3, 3]), ("encoder.layers.0.weight", &[64, 3, 3, 3])],
    );
    check(&report(&path), &["TAESD", "codec: TinyVae"]);
}
