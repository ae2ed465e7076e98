//! What `add doctor` says of files and folders, and that `sample` says the same.

use std::fs;

use add_weights::doctor;

use crate::{
    binary::{add, refuses},
    weights::{DIFFUSERS, KEYS, TEXT, UNET, UNET_IN, VAE, refusal, write},
};

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

#[test]
fn what_no_model_here_can_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // A LoRA for a model of another kind fits none here.
    let transformer = "transformer.single_transformer_blocks.0.attn.to_k";
    let names = ["lora_A", "lora_B"].map(|end| format!("{transformer}.{end}.weight"));
    let path = folder.path().join("flux-lora.safetensors");
    write(&path, &[(&names[0], &[4, 3072]), (&names[1], &[3072, 4])], &[]);
    let said = doctor::diagnose(&path).unwrap();
    assert!(said.problems.iter().any(|problem| problem.contains("diffusion transformer")), "{said}");
    let lora = [
        "sample",
        "configs/emoji.ron",
        "--prompt",
        "a",
        "--grid",
        "never.png",
        "--lora",
        path.to_str().unwrap(),
    ];
    refuses(&lora, 1, &["no place in this model's U-Net"]);
    // What is no file of weights at all is named by its beginning.
    for (name, bytes, words) in [
        ("page.ckpt", &b"<!DOCTYPE html><html>"[..], "a web page"),
        ("lfs.bin", b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        ("gone.safetensors", b"Entry not found", "has its download failed"),
        ("zip.safetensors", b"PK\x03\x04\0\0\0\0\0\0\0\0", ".ckpt, .bin, .pt or .pth"),
        ("none.pt", b"\x80\x02}q\0.", "expected tensors, found none"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let output = add(&["doctor", path.to_str().unwrap()]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.code() == Some(1) && said.contains(words), "{name}: {said}");
    }
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
        ("difference", &[("lora_unet_conv_in.diff", &[320, 4, 3, 3][..])], "a LoRA", "--lora"),
        ("oft", &[("lora_unet_conv_in.oft_blocks", &[4, 80, 80][..])], "no model of its own", "an OFT"),
        ("enlarger", &[("body.0.rdb1.conv1.weight", &[2, 2][..])], "no model of its own", "ESRGAN"),
        (
            "words",
            &[("encoder.block.0.layer.0.SelfAttention.q.weight", &[2, 2][..])],
            "no model of its own",
            "it is T5",
        ),
        (
            "videos",
            &[("down_blocks.0.resnets.0.temporal_res_block.conv1.weight", &[2, 2][..])],
            "no model",
            "videos",
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
