//! Which networks a file holds, by the shapes of tell-tale tensors.

use std::{collections::BTreeSet, fmt};

use super::Diagnosis;
use crate::{WeightsFile, names::ldm};

/// A network that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Stable Diffusion 1's denoiser.
    Sd15,
    /// Stable Diffusion 2's denoiser, and SD-Turbo's.
    Sd21,
    /// SDXL's denoiser, and SDXL-Turbo's.
    Sdxl,
    /// A U-Net of another shape.
    OtherUnet,
    /// Stable Diffusion's autoencoder.
    AutoencoderKl,
    /// The small autoencoder TAESD.
    AutoencoderTiny,
    /// CLIP ViT-L's text encoder.
    ClipL,
    /// OpenCLIP's text encoder of width 1024: ViT-H or ViT-g.
    OpenClip1024,
    /// OpenCLIP ViT-bigG's text encoder.
    BigG,
    /// A text encoder of another width.
    OtherText,
    /// A vision transformer.
    Vit,
}

impl Kind {
    /// Whether it is what a recipe's `model` names.
    pub fn is_denoiser(self) -> bool {
        matches!(self, Self::Sd15 | Self::Sd21 | Self::Sdxl | Self::OtherUnet)
    }

    /// Tensors of the whole network, where every release has the same.
    fn tensors(self) -> Option<usize> {
        match self {
            Self::Sd15 | Self::Sd21 => Some(686),
            Self::Sdxl => Some(1680),
            Self::AutoencoderKl => Some(248),
            _ => None,
        }
    }

    /// How a recipe names it.
    fn plugin(self) -> Option<&'static str> {
        match self {
            Self::Sd15 => Some("backbone: Sd15()"),
            Self::Sd21 => Some("backbone: Sd21()"),
            Self::Sdxl => Some("backbone: Sdxl()"),
            Self::AutoencoderKl => {
                Some("codec: KlVae(weights: \"...\", scaling_factor: 0.18215, or 0.13025 for SDXL)")
            }
            Self::AutoencoderTiny => Some("codec: TinyVae(weights: \"...\")"),
            Self::ClipL => Some("text: ClipL(weights: \"...\")"),
            Self::OpenClip1024 => Some("text: OpenClipH(weights: \"...\") or OpenClipG"),
            Self::BigG => Some("text: ClipLBigG(weights: \"...\")"),
            Self::Vit => Some("features: DinoV1, DinoV2, Clip, MiniDino or MiniClip(weights: \"...\")"),
            Self::OtherUnet | Self::OtherText => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sd15 => "Stable Diffusion 1's U-Net",
            Self::Sd21 => "Stable Diffusion 2's U-Net (also SD-Turbo's)",
            Self::Sdxl => "SDXL's U-Net (also SDXL-Turbo's)",
            Self::OtherUnet => "a U-Net of a shape that no plugin has",
            Self::AutoencoderKl => "Stable Diffusion's autoencoder",
            Self::AutoencoderTiny => "the tiny autoencoder (TAESD)",
            Self::ClipL => "CLIP ViT-L's text encoder",
            Self::OpenClip1024 => "an OpenCLIP text encoder of width 1024 (ViT-H or ViT-g)",
            Self::BigG => "OpenCLIP ViT-bigG's text encoder",
            Self::OtherText => "a CLIP text encoder of a width that no plugin has",
            Self::Vit => "a vision transformer",
        })
    }
}

/// One network of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkReport {
    /// What it is.
    pub kind: Kind,
    /// Whose names its tensors carry.
    pub naming: &'static str,
    /// Tensors that belong to it.
    pub tensors: usize,
    /// Values in them.
    pub parameters: usize,
    /// What more its shapes say.
    pub shape: String,
    /// Width of the embedding of the guidance scale, in a latent consistency model.
    pub guidance: Option<usize>,
    /// What stands in the way of its use.
    pub problems: Vec<String>,
}

impl NetworkReport {
    pub(super) fn tell(&self, found: &mut Diagnosis) {
        let Self { kind, naming, tensors, parameters, shape, guidance, problems } = self;
        let millions = *parameters as f64 / 1e6;
        let shape = if shape.is_empty() { String::new() } else { format!(", {shape}") };
        found.fact(
            "network",
            format!("{kind}: {tensors} tensors, {millions:.1} M parameters{shape}; {naming} names"),
        );
        if let Some(plugin) = kind.plugin() {
            let plugin = match guidance {
                Some(width) => plugin.replace("()", &format!("(guidance_embedding: {width})")),
                None => plugin.to_owned(),
            };
            found.fact("use", plugin);
        }
        for problem in problems {
            found.problem(problem.as_str());
        }
    }
}

/// A tell-tale tensor, the network that it tells of, and what stands in front of that network's names.
struct Sign {
    tensor: &'static str,
    prefix: &'static str,
    naming: &'static str,
    judge: fn(&View<'_>) -> (Kind, String, Vec<String>),
}

const fn sign(
    prefix: &'static str,
    tensor: &'static str,
    naming: &'static str,
    judge: fn(&View<'_>) -> (Kind, String, Vec<String>),
) -> Sign {
    Sign { tensor, prefix, naming, judge }
}

const OWN: &str = "Stable Diffusion's own";

/// In a file with one network its names have no prefix.
const SIGNS: [Sign; 24] = [
    sign("", "time_embedding.linear_1.weight", "diffusers", unet),
    sign(ldm::UNET, "time_embed.0.weight", OWN, unet),
    sign("", "decoder.mid_block.attentions.0.to_q.weight", "diffusers", autoencoder),
    sign("", "decoder.mid_block.attentions.0.query.weight", "diffusers (2022)", autoencoder),
    sign(ldm::AUTOENCODER, "decoder.mid.attn_1.q.weight", OWN, autoencoder),
    sign("", "decoder.mid.attn_1.q.weight", OWN, autoencoder),
    sign("", "decoder.layers.0.weight", "diffusers", tiny),
    sign("", "text_model.final_layer_norm.weight", "transformers", text),
    sign("", "final_layer_norm.weight", "transformers 5", text),
    sign(ldm::TEXT_SD1, "final_layer_norm.weight", "transformers 5", text),
    sign(ldm::TEXT_SDXL_1, "final_layer_norm.weight", "transformers 5", text),
    sign(ldm::TEXT_SD1, "text_model.final_layer_norm.weight", OWN, text),
    sign(ldm::TEXT_SDXL_1, "text_model.final_layer_norm.weight", OWN, text),
    sign(ldm::TEXT_SD2, "ln_final.weight", "open_clip", text),
    sign(ldm::TEXT_SDXL_2, "ln_final.weight", "open_clip", text),
    sign("", "ln_final.weight", "open_clip", text),
    sign("", "patch_embed.proj.weight", "timm's or facebook's", vit),
    sign("", "embeddings.patch_embeddings.projection.weight", "transformers", vit),
    sign("vision_model.", "embeddings.patch_embedding.weight", "transformers", vit),
    sign("", "embeddings.patch_embedding.weight", "transformers 5", vit),
    sign("visual.", "conv1.weight", "open_clip", vit),
    sign("", "patch_embedding.weight", "this project's", vit),
    // A denoiser alone, as training code saves it.
    sign(ldm::UNETS[1], "time_embed.0.weight", OWN, unet),
    sign(ldm::UNETS[2], "time_embed.0.weight", OWN, unet),
];

/// One network's tensors.
struct View<'a> {
    file: &'a WeightsFile,
    prefix: &'a str,
}

impl View<'_> {
    /// Shape of a tensor.
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.file.tensors().get(&format!("{}{name}", self.prefix)).map(|info| info.shape.as_slice())
    }

    /// Shape of the first tensor whose name ends so.
    fn ending(&self, end: &str) -> Option<&[usize]> {
        let mut all = self.file.tensors().iter();
        let found = all.find(|(name, _)| name.starts_with(self.prefix) && name.ends_with(end));
        found.map(|(_, info)| info.shape.as_slice())
    }

    /// How many different numbers stand behind `part`.
    fn count(&self, part: &str) -> usize {
        let numbers =
            self.file.tensors().keys().filter(|name| name.starts_with(self.prefix)).filter_map(|name| {
                let (_, rest) = name.split_once(part)?;
                rest.split('.').next()?.parse::<usize>().ok()
            });
        numbers.collect::<BTreeSet<_>>().len()
    }
}

fn view_of<'a>(file: &'a WeightsFile, sign: &Sign) -> View<'a> {
    View { file, prefix: sign.prefix }
}

/// All networks of a file.
pub(super) fn find(file: &WeightsFile) -> Vec<NetworkReport> {
    let mut found: Vec<NetworkReport> = Vec::new();
    for sign in &SIGNS {
        if !file.tensors().contains_key(&format!("{}{}", sign.prefix, sign.tensor)) {
            continue;
        }
        let (kind, shape, mut problems) = (sign.judge)(&view_of(file, sign));
        let others =
            SIGNS.iter().map(|s| s.prefix).filter(|prefix| !prefix.is_empty() && *prefix != sign.prefix);
        let others: Vec<&str> = others.collect();
        let own = file.tensors().iter().filter(|(name, _)| {
            name.starts_with(sign.prefix)
                && (!sign.prefix.is_empty() || !others.iter().any(|o| name.starts_with(o)))
        });
        let (tensors, parameters) =
            own.fold((0, 0), |(n, sum), (_, info)| (n + 1, sum + info.shape.iter().product::<usize>()));
        if let Some(expected) = kind.tensors().filter(|expected| tensors < *expected) {
            problems.push(format!("{kind} is incomplete: expected {expected} tensors, found {tensors}"));
        }
        let guidance = view_of(file, sign)
            .shape("time_embedding.cond_proj.weight")
            .and_then(|shape| shape.last().copied());
        found.push(NetworkReport {
            kind,
            naming: sign.naming,
            tensors,
            parameters,
            shape,
            guidance,
            problems,
        });
    }
    found
}

fn unet(view: &View<'_>) -> (Kind, String, Vec<String>) {
    let first = view.shape("conv_in.weight").or_else(|| view.shape("input_blocks.0.0.weight"));
    let (width, channels) = match first {
        Some([width, channels, ..]) => (*width, *channels),
        _ => (0, 0),
    };
    let context = match view.ending("attn2.to_k.weight") {
        Some([_, context]) => *context,
        _ => 0,
    };
    let added = view
        .ending("add_embedding.linear_1.weight")
        .or_else(|| view.ending("label_emb.0.0.weight"))
        .is_some();
    let kind = match (width, context, added) {
        (320, 768, false) => Kind::Sd15,
        (320, 1024, false) => Kind::Sd21,
        (320, 2048, true) => Kind::Sdxl,
        _ => Kind::OtherUnet,
    };
    let mut problems = Vec::new();
    if (width, context) == (384, 1280) {
        problems.push("it is SDXL's refiner, which no backbone is".to_owned());
    } else if kind == Kind::OtherUnet {
        problems.push(format!("no backbone has this shape: width {width}, text states of width {context}"));
    }
    match channels {
        4 => {}
        9 => problems.push("it is an inpainting model (9 input channels), which no backbone is".to_owned()),
        _ => problems.push(format!("expected 4 input channels, found {channels}")),
    }
    let told = view.shape("time_embedding.cond_proj.weight").is_some();
    let told = if told { ", told the guidance scale (a latent consistency model)" } else { "" };
    (kind, format!("text states of width {context}{told}"), problems)
}

fn autoencoder(view: &View<'_>) -> (Kind, String, Vec<String>) {
    let channels = view.shape("decoder.conv_in.weight").and_then(|shape| shape.get(1).copied()).unwrap_or(0);
    let problem = format!("expected 4 latent channels, found {channels}");
    (Kind::AutoencoderKl, String::new(), if channels == 4 { Vec::new() } else { vec![problem] })
}

fn tiny(_view: &View<'_>) -> (Kind, String, Vec<String>) {
    (Kind::AutoencoderTiny, String::new(), Vec::new())
}

fn text(view: &View<'_>) -> (Kind, String, Vec<String>) {
    let table = view
        .shape("text_model.embeddings.token_embedding.weight")
        .or_else(|| view.shape("embeddings.token_embedding.weight"))
        .or_else(|| view.shape("token_embedding.weight"));
    let width = table.and_then(|shape| shape.get(1).copied()).unwrap_or(0);
    let layers = view.count("encoder.layers.").max(view.count("transformer.resblocks."));
    let kind = match width {
        768 => Kind::ClipL,
        1024 => Kind::OpenClip1024,
        1280 => Kind::BigG,
        _ => Kind::OtherText,
    };
    let problem = format!("no text encoder has this width: {width}");
    let problems = if kind == Kind::OtherText { vec![problem] } else { Vec::new() };
    (kind, format!("{layers} layers of width {width}"), problems)
}

fn vit(view: &View<'_>) -> (Kind, String, Vec<String>) {
    let patches = [
        "patch_embed.proj.weight",
        "embeddings.patch_embeddings.projection.weight",
        "embeddings.patch_embedding.weight",
        "conv1.weight",
        "patch_embedding.weight",
    ];
    let patches = patches.iter().find_map(|name| view.shape(name));
    let (width, patch) = match patches {
        Some([width, _, patch, _]) => (*width, *patch),
        _ => (0, 0),
    };
    let layers = ["blocks.", "encoder.layer.", "encoder.layers.", "resblocks.", "layers."];
    let layers = layers.iter().map(|part| view.count(part)).max().unwrap_or(0);
    let registers = ["register_tokens", "reg_token", "embeddings.register_tokens"];
    let registers =
        if registers.iter().any(|name| view.shape(name).is_some()) { ", with registers" } else { "" };
    (Kind::Vit, format!("{layers} layers of width {width}, patches of {patch} pixels{registers}"), Vec::new())
}
