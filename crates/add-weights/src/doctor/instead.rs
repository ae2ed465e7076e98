//! What people have in the place of a model.

use crate::{WeightsFile, lora::LoraFile};

const TEXTUAL_INVERSION: &str =
    "it is a textual inversion: new words for a text encoder, not a model; they have no place here";

/// Parts of names, and what they tell of. The first that is found counts.
const SIGNS: [(&[&str], &str); 15] = [
    (
        &[
            "controlnet_cond_embedding",
            "controlnet_down_blocks",
            "controlnet_blocks",
            "controlnet_mid_block",
            "input_hint_block",
            "control_model.",
        ],
        "it is a ControlNet, which steers another model and has no place here",
    ),
    (
        &[
            "double_blocks",
            "joint_blocks",
            "transformer_blocks.0.ff_context",
            "single_transformer_blocks",
            "cap_embedder",
            "caption_projection.",
            "scale_shift_table",
            "attn1.Wqkv",
            "blocks.0.self_attn.q.weight",
        ],
        "it is a diffusion transformer (SD3, Flux); the denoisers here are U-Nets",
    ),
    (
        &["temporal_res_block", "temporal_transformer_blocks"],
        "it is a model of videos, which has no place here",
    ),
    (&["clip_txt_mapper", "clip_txt_pooled_mapper"], "it is a part of Stable Cascade, which no backbone is"),
    (
        &["oft_blocks", "oft_diag"],
        "it is an OFT, a change to a model of a kind that is not read here; LoRA, LoHa and LoKr are",
    ),
    (
        &[".on_input"],
        "it is an IA3, a change to a model of a kind that is not read here; LoRA, LoHa and LoKr are",
    ),
    (
        &[".a1.weight", ".b1.weight"],
        "it is a GLoRA, a change to a model of a kind that is not read here; LoRA, LoHa and LoKr are",
    ),
    (
        &["RDB1.conv1", "rdb1.conv1"],
        "it is a network that enlarges pictures (ESRGAN), which has no place here",
    ),
    (&["SelfAttention.q."], "it is T5, whose text states no U-Net here attends to"),
    (
        &["model.layers.0.self_attn", "bert.embeddings"],
        "it is a language model, whose text states no U-Net here attends to",
    ),
    (
        &["motion_modules.", "motion_module."],
        "it is a motion module (AnimateDiff): a part of a video model, which has no place here",
    ),
    (
        &["ip_adapter.", "image_proj."],
        "it is an IP-Adapter, which steers another model and has no place here",
    ),
    (&["emb_params", "string_to_param", "learned_embeds"], TEXTUAL_INVERSION),
    (&["hypernetwork", "adapter.body."], "it is an addition to a model, not a model; it has no place here"),
    (&["aesthetic_score", "aesthetics_model"], "it is a judge of pictures, not a model that makes some"),
];
/// Textual inversions of SDXL: an embedding for each text encoder and nothing else.
const EMBEDDINGS: [&str; 2] = ["clip_l", "clip_g"];
/// Widths of text encoders.
const WIDTHS: [usize; 3] = [768, 1024, 1280];

/// What `file` is in the place of a model, if that can be told from its names.
pub fn instead(file: &WeightsFile) -> Option<&'static str> {
    if LoraFile::is_one(file) {
        return Some(
            "it is a LoRA: a change to a model, not a model; give it with --lora beside the model, or merge it with `add merge`",
        );
    }
    let has = |part: &&str| file.tensors().keys().any(|name| name.contains(*part));
    let sign = SIGNS.iter().find(|(parts, _)| parts.iter().any(has));
    let embedding = || {
        let tensors = file.tensors();
        let few = !tensors.is_empty() && tensors.len() <= 2;
        let of_sdxl = few && tensors.keys().all(|name| EMBEDDINGS.contains(&name.as_str()));
        // diffusers saves one under the new word itself.
        let word = tensors.len() == 1
            && tensors.iter().all(|(name, info)| {
                name.starts_with('<') && info.shape.last().is_some_and(|width| WIDTHS.contains(width))
            });
        (of_sdxl || word).then_some(TEXTUAL_INVERSION)
    };
    sign.map(|(_, what)| *what).or_else(embedding)
}
