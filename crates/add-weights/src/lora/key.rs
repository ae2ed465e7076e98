//! What the name of a tensor says: which part of a model, which layer of it, which factor.
//!
//! | program | name |
//! |---|---|
//! | peft, diffusers | `unet.L.lora_A.weight`, `text_encoder.L.lora_B.weight`, `base_model.model.L.lora_A.weight` |
//! | diffusers, 2023 | `unet.L.lora.down.weight`, `unet.….attn1.processor.to_q_lora.up.weight` |
//! | kohya, LCM-LoRA, `LyCORIS` | `lora_unet_L.lora_down.weight`, `lora_te1_L.alpha`, `lora_unet_L.hada_w1_a` |
//! | ComfyUI | `diffusion_model.L.lora_up.weight`, with Stable Diffusion's own names of layers |
//!
//! `L` is a layer's dotted name, kohya's has `_` in place of the dots.

use std::fmt;

/// A part of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The U-Net.
    Denoiser,
    /// The text encoder, the first where there are two.
    Text,
    /// The second text encoder.
    Text2,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denoiser => "U-Net",
            Self::Text => "text encoder",
            Self::Text2 => "second text encoder",
        })
    }
}

/// What a tensor is to its layer's change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Factor {
    /// `A`: `[rank, C_in, ...]`.
    Down,
    /// `B`: `[C_out, rank, ...]`.
    Up,
    /// The core of a convolution in Tucker's form: `[rank, rank, k_h, k_w]`.
    Mid,
    /// The change counts `alpha / rank`.
    Alpha,
    /// The factors of the first matrix, and its core.
    Hada1A,
    Hada1B,
    HadaT1,
    /// Those of the second, with which it is multiplied element by element.
    Hada2A,
    Hada2B,
    HadaT2,
    /// The first matrix of a Kronecker product, or its factors.
    Kron1,
    Kron1A,
    Kron1B,
    /// The second.
    Kron2,
    Kron2A,
    Kron2B,
    KronT2,
    /// The change of the weight as it is.
    Difference,
    /// The change of the bias as it is.
    BiasDifference,
}

/// Whether no other kind of file has a tensor of this name. Differences have a plain end, so that the beginning must tell.
pub(super) fn tells(name: &str) -> bool {
    match Key::of(name).map(|key| key.factor) {
        None | Some(Factor::Alpha) => false,
        Some(Factor::Difference | Factor::BiasDifference) => {
            ["lora_", "lycoris_"].iter().any(|begin| name.starts_with(begin))
        }
        Some(_) => true,
    }
}

/// Ends of names.
const ENDS: [(&str, Factor); 27] = [
    (".lora_A.weight", Factor::Down),
    (".lora_B.weight", Factor::Up),
    (".lora_A.default.weight", Factor::Down),
    (".lora_B.default.weight", Factor::Up),
    (".lora.down.weight", Factor::Down),
    (".lora.up.weight", Factor::Up),
    ("_lora.down.weight", Factor::Down),
    ("_lora.up.weight", Factor::Up),
    (".lora_linear_layer.down.weight", Factor::Down),
    (".lora_linear_layer.up.weight", Factor::Up),
    (".lora_down.weight", Factor::Down),
    (".lora_up.weight", Factor::Up),
    (".lora_mid.weight", Factor::Mid),
    (".hada_w1_a", Factor::Hada1A),
    (".hada_w1_b", Factor::Hada1B),
    (".hada_t1", Factor::HadaT1),
    (".hada_w2_a", Factor::Hada2A),
    (".hada_w2_b", Factor::Hada2B),
    (".hada_t2", Factor::HadaT2),
    (".lokr_w1", Factor::Kron1),
    (".lokr_w1_a", Factor::Kron1A),
    (".lokr_w1_b", Factor::Kron1B),
    (".lokr_w2", Factor::Kron2),
    (".lokr_w2_a", Factor::Kron2A),
    (".lokr_w2_b", Factor::Kron2B),
    (".lokr_t2", Factor::KronT2),
    (".alpha", Factor::Alpha),
];
/// Plain differences, which other files may have too.
const DIFFERENCES: [(&str, Factor); 2] = [(".diff", Factor::Difference), (".diff_b", Factor::BiasDifference)];

/// Beginnings of names. The longer ones stand before those that begin them.
const BEGINNINGS: [(&str, Part); 12] = [
    ("lora_unet_", Part::Denoiser),
    ("lycoris_", Part::Denoiser),
    ("lora_te1_", Part::Text),
    ("lora_te2_", Part::Text2),
    ("lora_te_", Part::Text),
    ("base_model.model.unet.", Part::Denoiser),
    ("base_model.model.text_encoder.", Part::Text),
    ("unet.", Part::Denoiser),
    ("text_encoder.", Part::Text),
    ("text_encoder_2.", Part::Text2),
    ("model.diffusion_model.", Part::Denoiser),
    ("diffusion_model.", Part::Denoiser),
];
/// What peft puts in front where it knows no part.
const PEFT: &str = "base_model.model.";
/// How layers of a text encoder begin where no part is named.
const OF_TEXT: [&str; 3] = ["text_model.", "encoder.layers.", "text_projection"];

/// The name of a tensor, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) part: Part,
    /// The layer as the file names it, with dots or with underscores.
    pub(crate) layer: String,
    pub(crate) factor: Factor,
}

impl Key {
    /// What `name` says; nothing where it is no part of a change.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let mut ends = ENDS.iter().chain(&DIFFERENCES);
        let (rest, factor) = ends.find_map(|(end, factor)| Some((name.strip_suffix(end)?, *factor)))?;
        let begins = BEGINNINGS.iter().find_map(|(begin, part)| Some((rest.strip_prefix(begin)?, *part)));
        let (layer, part) = begins.unwrap_or_else(|| {
            let layer = rest.strip_prefix(PEFT).unwrap_or(rest);
            let of_text = OF_TEXT.iter().any(|begin| layer.starts_with(begin));
            (layer, if of_text { Part::Text } else { Part::Denoiser })
        });
        Some(Self { part, layer: today(layer, part), factor })
    }
}

/// A layer of an attention as diffusers named it in 2023: `attn1.processor.to_q_lora` is `attn1.to_q`.
fn today(layer: &str, part: Part) -> String {
    let layer = layer.strip_suffix("_lora").unwrap_or(layer);
    let layer = match layer.rsplit_once(".processor.") {
        Some((attention, "to_out")) => format!("{attention}.to_out.0"),
        Some((attention, projection)) => format!("{attention}.{projection}"),
        None => layer.to_owned(),
    };
    if part == Part::Denoiser {
        return layer;
    }
    let projections = [("to_q", "q_proj"), ("to_k", "k_proj"), ("to_v", "v_proj"), ("to_out", "out_proj")];
    let old = projections.iter().find_map(|(old, new)| {
        let attention = layer.strip_suffix(old)?;
        attention.ends_with("self_attn.").then(|| format!("{attention}{new}"))
    });
    old.unwrap_or(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_names_the_same_layer() {
        use Factor::{Alpha, Down, Hada1A, KronT2, Up};
        let block = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0";
        let kohya = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0";
        let text = "text_model.encoder.layers.3.self_attn.q_proj";
        for (name, part, layer, factor) in [
            (format!("unet.{block}.lora_A.weight"), Part::Denoiser, block, Down),
            (format!("base_model.model.{block}.lora_B.weight"), Part::Denoiser, block, Up),
            (format!("unet.{block}.lora.down.weight"), Part::Denoiser, block, Down),
            (block.replace("to_out.0", "processor.to_out_lora.up.weight"), Part::Denoiser, block, Up),
            (format!("lora_unet_{kohya}.lora_down.weight"), Part::Denoiser, kohya, Down),
            (format!("lora_unet_{kohya}.hada_w1_a"), Part::Denoiser, kohya, Hada1A),
            (format!("lora_unet_{kohya}.lokr_t2"), Part::Denoiser, kohya, KronT2),
            (format!("lora_te2_{kohya}.alpha"), Part::Text2, kohya, Alpha),
            ("lora_te_x_y.alpha".to_owned(), Part::Text, "x_y", Alpha),
            (format!("text_encoder_2.{text}.lora_A.weight"), Part::Text2, text, Down),
            (format!("base_model.model.{text}.lora_A.weight"), Part::Text, text, Down),
            (format!("text_encoder.{text}.lora_linear_layer.down.weight"), Part::Text, text, Down),
            (format!("text_encoder.{}_lora.up.weight", text.replace("q_proj", "to_q")), Part::Text, text, Up),
        ] {
            assert_eq!(Key::of(&name), Some(Key { part, layer: layer.to_owned(), factor }), "{name}");
        }
    }

    #[test]
    fn what_is_no_change_has_no_key() {
        for name in ["conv_in.weight", "emb_params", "lora_unet_x.dora_scale", "unet.x.lora_magnitude_vector"]
        {
            assert_eq!(Key::of(name), None, "{name}");
        }
    }
}
