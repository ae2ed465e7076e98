//! What people have in the place of a model.

use crate::{WeightsFile, lora::LoraFile};

/// Parts of names, and what they tell of. The first that is found counts.
const SIGNS: [(&[&str], &str); 7] = [
    (
        &[
            "controlnet_cond_embedding",
            "controlnet_down_blocks",
            "controlnet_blocks",
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
        ],
        "it is a diffusion transformer (SD3, Flux); the denoisers here are U-Nets",
    ),
    (
        &["motion_modules.", "motion_module."],
        "it is a motion module (AnimateDiff): a part of a video model, which has no place here",
    ),
    (
        &["ip_adapter.", "image_proj."],
        "it is an IP-Adapter, which steers another model and has no place here",
    ),
    (
        &["emb_params", "string_to_param", "learned_embeds"],
        "it is a textual inversion: new words for a text encoder, not a model; they have no place here",
    ),
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
        (of_sdxl || word).then_some(SIGNS[4].1)
    };
    sign.map(|(_, what)| *what).or_else(embedding)
}
