//! Key maps: where each published naming keeps the parameters of this project's networks.
//!
//! The networks carry diffusers' and transformers' names where those exist, so only the others need a map. Each map
//! is a function for [`Loading::source`](crate::Loading): from our name to a place in the file. A layer of ours is
//! `layers.N.{layer_norm1, self_attn.{q,k,v,out}_proj, layer_scale1, layer_norm2, mlp.fc1, mlp.fc2, layer_scale2}`.

pub mod found;
pub mod ldm;

use crate::source::Source;
pub use crate::source::is_unused;

/// Facebook's DINO and `DINOv2` files, and timm's: `blocks.N.attn.qkv` fused.
pub fn vit_from_hub(name: &str) -> Source {
    if let Some((n, part)) = layer(name) {
        return match split(part) {
            ("self_attn", rest) => fused(&format!("blocks.{n}.attn"), "qkv.", "proj.", rest),
            ("layer_scale1", _) => whole(format!("blocks.{n}.ls1.gamma")),
            ("layer_scale2", _) => whole(format!("blocks.{n}.ls2.gamma")),
            (norm, rest) => whole(format!("blocks.{n}.{}.{rest}", norm.replace("layer_norm", "norm"))),
        };
    }
    renamed(
        name,
        &[
            ("position_embedding", "pos_embed"),
            ("patch_embedding", "patch_embed.proj"),
            ("post_norm", "norm"),
        ],
    )
}

/// transformers' `Dinov2Model`.
pub fn vit_from_transformers_dinov2(name: &str) -> Source {
    if let Some((n, part)) = layer(name) {
        let at = format!("encoder.layer.{n}");
        return whole(match split(part) {
            ("self_attn", rest) => {
                let pairs = [
                    ("q_proj", "attention.attention.query"),
                    ("k_proj", "attention.attention.key"),
                    ("v_proj", "attention.attention.value"),
                    ("out_proj", "attention.output.dense"),
                ];
                format!("{at}.{}", replaced(rest, &pairs))
            }
            (scale @ ("layer_scale1" | "layer_scale2"), _) => format!("{at}.{scale}.lambda1"),
            (norm, rest) => format!("{at}.{}.{rest}", norm.replace("layer_norm", "norm")),
        });
    }
    let pairs = [
        ("cls_token", "embeddings.cls_token"),
        ("register_tokens", "embeddings.register_tokens"),
        ("position_embedding", "embeddings.position_embeddings"),
        ("patch_embedding", "embeddings.patch_embeddings.projection"),
        ("post_norm", "layernorm"),
    ];
    renamed(name, &pairs)
}

/// transformers' `CLIPVisionModelWithProjection`.
pub fn vit_from_transformers_clip(name: &str) -> Source {
    if layer(name).is_some() {
        return whole(format!("vision_model.encoder.{name}"));
    }
    let pairs = [
        ("cls_token", "vision_model.embeddings.class_embedding"),
        ("position_embedding", "vision_model.embeddings.position_embedding.weight"),
        ("patch_embedding", "vision_model.embeddings.patch_embedding"),
        // The typing error is the library's.
        ("pre_norm", "vision_model.pre_layrnorm"),
        ("post_norm", "vision_model.post_layernorm"),
        ("projection", "visual_projection"),
    ];
    renamed(name, &pairs)
}

/// The same as transformers 5 saves it without its projection.
pub fn vit_from_transformers_clip_5(name: &str) -> Source {
    let Source::Whole(name) = vit_from_transformers_clip(name) else {
        unreachable!("transformers keeps its tensors whole")
    };
    whole(name.strip_prefix("vision_model.").unwrap_or(&name).to_owned())
}

/// transformers' `CLIPTextModel` as its version 5 saves it, without `text_model.` in front.
pub fn clip_text_of_transformers_5(name: &str) -> Source {
    whole(name.strip_prefix("text_model.").unwrap_or(name).to_owned())
}

/// Both towers of an `open_clip` file.
pub fn open_clip(name: &str) -> Source {
    match split(name) {
        ("visual", rest) => open_clip_tower("visual.", rest),
        ("text", rest) => open_clip_text(rest),
        _ => whole(name.to_owned()),
    }
}

/// The text tower of an `open_clip` file, for a `ClipText`.
pub fn open_clip_text(name: &str) -> Source {
    match name.strip_prefix("text_model.") {
        Some(name) => open_clip_tower("", name.strip_prefix("encoder.").unwrap_or(name)),
        // A bare matrix that multiplies from the right.
        None => Source::Transposed("text_projection".to_owned()),
    }
}

fn open_clip_tower(prefix: &str, name: &str) -> Source {
    if let Some((n, part)) = layer(name) {
        let at = format!("{prefix}transformer.resblocks.{n}");
        return match split(part) {
            ("self_attn", rest) => fused(&format!("{at}.attn"), "in_proj_", "out_proj.", rest),
            (norm, rest) => {
                let pairs = [("layer_norm", "ln_"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")];
                whole(format!("{at}.{}", replaced(&format!("{norm}.{rest}"), &pairs)))
            }
        };
    }
    if name == "projection.weight" {
        return Source::Transposed(format!("{prefix}proj"));
    }
    let pairs = [
        ("cls_token", "class_embedding"),
        ("position_embedding", "positional_embedding"),
        ("patch_embedding", "conv1"),
        ("pre_norm", "ln_pre"),
        ("post_norm", "ln_post"),
        ("embeddings.token_embedding", "token_embedding"),
        ("embeddings.position_embedding.weight", "positional_embedding"),
        ("final_layer_norm", "ln_final"),
    ];
    let Source::Whole(name) = renamed(name, &pairs) else {
        unreachable!("a renaming keeps the tensor whole")
    };
    whole(format!("{prefix}{name}"))
}

/// The files of 2022, which diffusers renames while loading: `query`, `key`, `value`, `proj_attn`.
pub fn autoencoder_kl_of_2022(name: &str) -> Source {
    let pairs = [("to_q.", "query."), ("to_k.", "key."), ("to_v.", "value."), ("to_out.0.", "proj_attn.")];
    whole(if name.contains("attentions.") { replaced(name, &pairs) } else { name.to_owned() })
}

/// Number and rest of `layers.N.rest`.
fn layer(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("layers.")?.split_once('.')
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or((name, ""))
}

fn whole(name: String) -> Source {
    Source::Whole(name)
}

/// `rest` is `{q,k,v,out}_proj.{weight,bias}`; queries, keys and values are the thirds of one matrix.
fn fused(at: &str, joint: &str, out: &str, rest: &str) -> Source {
    let (projection, kind) = split(rest);
    match ["q_proj", "k_proj", "v_proj"].iter().position(|&name| name == projection) {
        Some(part) => Source::Rows { name: format!("{at}.{joint}{kind}"), part, of: 3 },
        None => whole(format!("{at}.{out}{kind}")),
    }
}

/// Replaces the longest of the given beginnings.
fn renamed(name: &str, pairs: &[(&str, &str)]) -> Source {
    let matching = pairs.iter().filter(|(from, _)| name.starts_with(from)).max_by_key(|(from, _)| from.len());
    whole(matching.map_or(name.to_owned(), |(from, to)| name.replacen(from, to, 1)))
}

fn replaced(name: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}
