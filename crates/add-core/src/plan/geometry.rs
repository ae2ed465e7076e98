//! Where a layer lies in its network: how many positions it reads and writes for one sample.
//!
//! It follows from the layer's name, since the networks carry the names of the released checkpoints.

/// Positions of a layer for one sample: pixels of its level, or tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Positions {
    /// Positions of its input.
    pub(crate) input: usize,
    /// Positions of its output.
    pub(crate) output: usize,
    /// Attended to, where the layer's keys and values come from elsewhere.
    pub(crate) context: usize,
}

#[expect(clippy::unnecessary_wraps, reason = "arms of a match beside others that have no place")]
impl Positions {
    fn at(positions: usize) -> Option<Self> {
        Some(Self { input: positions, output: positions, context: positions })
    }

    fn between(input: usize, output: usize) -> Option<Self> {
        Some(Self { input, output, context: output })
    }
}

/// What a network works on, for one sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Geometry {
    /// Levels of a U-Net: `side` is that of the finest, `text` counts the tokens. What lies around it works on places of which
    /// `patch` times `patch` are one of its own.
    Unet { side: usize, levels: usize, text: usize, patch: usize },
    /// Encoder and decoder of `AutoencoderKL`: `side` in pixels.
    Kl { side: usize, levels: usize },
    /// Encoder and decoder of `AutoencoderTiny`: `side` in pixels; `doublings` are the decoder's layers that follow an
    /// enlargement, `halvings` the encoder's strided ones, ascending.
    Tiny { side: usize, halvings: Vec<usize>, doublings: Vec<usize> },
    /// A vision transformer up to the layer `deepest`.
    Vit { patches: usize, tokens: usize, deepest: usize },
    /// MobileNetV2 up to the feature `deepest`, on pictures of `side`.
    MobileNet { side: usize, deepest: usize },
    /// Heads, each on its tokens.
    Heads(Vec<usize>),
    /// A sequence, such as a text.
    Sequence(usize),
}

/// Blocks of MobileNetV2 with stride 2.
const STRIDED: [usize; 4] = [1, 3, 6, 13];

impl Geometry {
    /// The geometry of a network by the names of its parameters, on pictures or latents of `side` and `channels` beside `text`
    /// tokens; `None` where the names are not known.
    pub(crate) fn of(
        shapes: &[(String, Vec<usize>)],
        side: usize,
        channels: usize,
        text: usize,
    ) -> Option<Self> {
        let levels = |prefix: &str| {
            let numbers = shapes.iter().filter_map(|(path, _)| number_after(path, prefix));
            numbers.max().map_or(0, |last| last + 1)
        };
        let find = |name: &str| {
            shapes.iter().find(|(path, _)| after(path, name) == Some("")).map(|(_, shape)| shape)
        };
        if levels("encoder.down_blocks.") > 0 {
            return Some(Self::Kl { side, levels: levels("encoder.down_blocks.") });
        }
        if levels("decoder.layers.") > 0 {
            return Some(tiny(shapes, side));
        }
        if levels("down_blocks.") > 0 {
            let read = find("conv_in.weight").map_or(channels, |shape| shape[1]);
            let patch = patch(read, channels);
            return Some(Self::Unet { side: side / patch, levels: levels("down_blocks."), text, patch });
        }
        if let Some(&[.., patch]) = find("patch_embedding.weight").map(Vec::as_slice) {
            let patches = (side / patch).pow(2);
            let registers = find("register_tokens").map_or(0, |shape| shape[0]);
            return Some(Self::Vit { patches, tokens: 1 + registers + patches, deepest: usize::MAX });
        }
        if find("stem.conv.weight").is_some() && levels("blocks.") > 0 {
            return Some(Self::MobileNet { side, deepest: usize::MAX });
        }
        // A network without values computes nothing.
        shapes.is_empty().then_some(Self::Sequence(text))
    }

    /// The same network when nothing beyond the hooks named `prefix-number` is computed.
    pub(crate) fn up_to(self, hooks: &[String]) -> Self {
        let last = hooks.iter().filter_map(|hook| hook.rsplit('-').next()?.parse().ok()).max();
        match (self, last) {
            (Self::Vit { patches, tokens, .. }, Some(deepest)) => Self::Vit { patches, tokens, deepest },
            (Self::MobileNet { side, .. }, Some(deepest)) => Self::MobileNet { side, deepest },
            (other, _) => other,
        }
    }

    /// Positions of a hook of this network, which a head reads.
    pub(crate) fn hook_positions(&self, hook: &str) -> usize {
        match self {
            Self::Vit { patches, .. } => *patches,
            Self::Unet { side, levels, .. } => {
                // A block ends with the change of the level, where there is one.
                let deepest = levels.saturating_sub(1);
                let level = match (number_after(hook, "down_blocks."), number_after(hook, "up_blocks.")) {
                    (Some(i), _) => (i + 1).min(deepest),
                    (_, Some(i)) => deepest - (i + 1).min(deepest),
                    (None, None) => deepest,
                };
                halved(*side, level).pow(2)
            }
            Self::MobileNet { side, .. } => {
                let feature: usize = hook.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
                halved(*side, 1 + strides_before(feature)).pow(2)
            }
            _ => 1,
        }
    }

    /// Where the parameter at `path` lies; `None` for one that is not computed or no layer's.
    pub(crate) fn place(&self, path: &str) -> Option<Positions> {
        match self {
            Self::Unet { side, levels, text, patch } => unet(path, *side, *levels, *text, *patch),
            Self::Kl { side, levels } => kl(path, *side, *levels),
            Self::Tiny { side, halvings, doublings } => {
                let level = |n: usize, of: &[usize]| of.iter().filter(|&&at| at <= n).count();
                if let Some(n) = number_after(path, "encoder.layers.") {
                    let after = halved(*side, level(n, halvings));
                    let before = if halvings.contains(&n) { 2 * after } else { after };
                    return Positions::between(before.pow(2), after.pow(2));
                }
                let n = number_after(path, "decoder.layers.")?;
                Positions::at((halved(*side, doublings.len()) << level(n, doublings)).pow(2))
            }
            Self::Vit { patches, tokens, deepest } => match number_after(path, "layers.") {
                Some(layer) if layer > *deepest => None,
                Some(_) => Positions::at(*tokens),
                None if after(path, "patch_embedding").is_some() => Positions::at(*patches),
                None if after(path, "pre_norm").is_some() => Positions::at(*tokens),
                None => Positions::at(1),
            },
            Self::MobileNet { side, deepest } => mobile_net(path, *side, *deepest),
            Self::Heads(tokens) => {
                let tokens = *tokens.get(number_after(path, "heads.")?)?;
                if path.contains("cmapper") { Positions::at(1) } else { Positions::at(tokens) }
            }
            Self::Sequence(tokens) => Positions::at(*tokens),
        }
    }
}

/// How many places of the input, in each direction, a U-Net that reads `read` channels sees as one: 1 where they are as many as
/// the input has, or not a square's multiple of them.
fn patch(read: usize, channels: usize) -> usize {
    let places = if read.is_multiple_of(channels.max(1)) { read / channels.max(1) } else { 1 };
    let patch = places.isqrt();
    if patch * patch == places { patch.max(1) } else { 1 }
}

fn unet(path: &str, side: usize, levels: usize, text: usize, patch: usize) -> Option<Positions> {
    let level = |i: usize| halved(side, i).pow(2);
    if path.contains("embedding") || path.contains("time_emb_proj") {
        return Positions::at(1);
    }
    if let Some(i) = number_after(path, "down_blocks.") {
        if path.contains("downsamplers") {
            return Positions::between(level(i), level(i + 1));
        }
        return attending(path, level(i), text);
    }
    if let Some(k) = number_after(path, "up_blocks.") {
        let i = levels - 1 - k.min(levels - 1);
        if path.contains("upsamplers") {
            return Positions::at(level(i.saturating_sub(1)));
        }
        return attending(path, level(i), text);
    }
    if after(path, "mid_block").is_some() {
        return attending(path, level(levels - 1), text);
    }
    let own = ["conv_in", "conv_norm_out", "conv_out"];
    Positions::at(if own.iter().any(|name| after(path, name).is_some()) {
        level(0)
    } else {
        (patch * side).pow(2)
    })
}

/// In a transformer `attn2` attends to the text.
fn attending(path: &str, positions: usize, text: usize) -> Option<Positions> {
    if !path.contains("attn2.") {
        return Positions::at(positions);
    }
    let from_text = path.contains("to_k") || path.contains("to_v");
    let positions = if from_text { text } else { positions };
    Some(Positions { input: positions, output: positions, context: text })
}

fn kl(path: &str, side: usize, levels: usize) -> Option<Positions> {
    let level = |i: usize| halved(side, i).pow(2);
    let coarsest = level(levels - 1);
    if let Some(i) = number_after(path, "encoder.down_blocks.") {
        let after = if path.contains("downsamplers") { level(i + 1) } else { level(i) };
        return Positions::between(level(i), after);
    }
    if let Some(k) = number_after(path, "decoder.up_blocks.") {
        let i = levels - 1 - k.min(levels - 1);
        return Positions::at(if path.contains("upsamplers") {
            level(i.saturating_sub(1))
        } else {
            level(i)
        });
    }
    let finest = ["encoder.conv_in", "decoder.conv_norm_out", "decoder.conv_out"];
    Positions::at(if finest.iter().any(|name| after(path, name).is_some()) { level(0) } else { coarsest })
}

fn mobile_net(path: &str, side: usize, deepest: usize) -> Option<Positions> {
    let at = |strides: usize| halved(side, strides).pow(2);
    if after(path, "stem").is_some() {
        return Positions::between(side.pow(2), at(1));
    }
    if after(path, "last").is_some() {
        return if deepest < 18 { None } else { Positions::at(at(5)) };
    }
    let block = number_after(path, "blocks.")?;
    let (before, after) = (at(1 + strides_before(block)), at(1 + strides_before(block + 1)));
    match path {
        _ if block + 1 > deepest => None,
        _ if path.contains("expand") => Positions::at(before),
        _ if path.contains("depthwise") => Positions::between(before, after),
        _ => Positions::at(after),
    }
}

/// Strided blocks before the feature of that number; feature `n` is the output of block `n - 1`.
fn strides_before(feature: usize) -> usize {
    STRIDED.iter().filter(|&&block| block < feature).count()
}

/// The strided layers of the encoder, and those of the decoder that follow an enlargement, have no bias.
fn tiny(shapes: &[(String, Vec<usize>)], side: usize) -> Geometry {
    let without_bias = |prefix: &str| {
        let has = |name: String| shapes.iter().any(|(path, _)| after(path, &name) == Some(""));
        let layers = (0..).take_while(|n| {
            *n < 64 && shapes.iter().any(|(path, _)| number_after(path, prefix).is_some_and(|m| m >= *n))
        });
        let bare = layers.filter(|n| has(format!("{prefix}{n}.weight")) && !has(format!("{prefix}{n}.bias")));
        bare.collect::<Vec<usize>>()
    };
    Geometry::Tiny {
        side,
        halvings: without_bias("encoder.layers."),
        doublings: without_bias("decoder.layers."),
    }
}

/// A side after `times` halvings, rounded up as a padded stride does.
fn halved(side: usize, times: usize) -> usize {
    (0..times).fold(side, |side, _| side.div_ceil(2))
}

/// The number that follows `part` in `path`.
fn number_after(path: &str, part: &str) -> Option<usize> {
    after(path, part)?.split('.').next()?.parse().ok()
}

/// What follows `part`, which begins a component of `path`: a plugin's network may lie inside of another module.
pub(super) fn after<'a>(path: &'a str, part: &str) -> Option<&'a str> {
    let begins = |&(at, _): &(usize, &str)| at == 0 || path.as_bytes()[at - 1] == b'.';
    path.match_indices(part).find(begins).map(|(at, _)| &path[at + part.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(geometry: &Geometry, path: &str) -> [usize; 3] {
        let Positions { input, output, context } = geometry.place(path).expect("a layer");
        [input, output, context]
    }

    #[test]
    fn a_unet_halves_on_the_way_down_and_doubles_on_the_way_up() {
        let unet = Geometry::Unet { side: 64, levels: 4, text: 77, patch: 1 };
        for (path, expected) in [
            ("unet.conv_in.weight", [4096; 3]),
            ("denoiser.unet.down_blocks.1.resnets.0.conv1.weight", [1024; 3]),
            ("down_blocks.1.downsamplers.0.conv.weight", [1024, 256, 256]),
            ("mid_block.resnets.0.conv1.weight", [64; 3]),
            ("up_blocks.0.upsamplers.0.conv.weight", [256; 3]),
            ("up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_q.weight", [4096; 3]),
            ("up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_q.weight", [4096, 4096, 77]),
            ("up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_k.weight", [77; 3]),
            ("down_blocks.0.resnets.0.time_emb_proj.weight", [1; 3]),
        ] {
            assert_eq!(positions(&unet, path), expected, "{path}");
        }
    }

    #[test]
    fn a_network_is_known_wherever_it_lies() {
        let shape = |path: &str, shape: &[usize]| (path.to_owned(), shape.to_vec());
        let unet = [shape("denoiser.unet.down_blocks.2.resnets.0.norm1.weight", &[8])];
        let found = Geometry::of(&unet, 16, 4, 20);
        assert_eq!(found, Some(Geometry::Unet { side: 16, levels: 3, text: 20, patch: 1 }));
        let unknown = [("trunk.0.mixer.weight".to_owned(), vec![4, 4])];
        assert_eq!(
            Geometry::of(&unknown, 16, 4, 20),
            None,
            "an unknown network is not counted as something else"
        );
        let vit =
            [shape("vit.patch_embedding.weight", &[8, 3, 14, 14]), shape("vit.layers.0.norm.weight", &[8])];
        let found = Geometry::of(&vit, 224, 3, 0)
            .expect("a ViT")
            .up_to(&["dino-5".to_owned(), "dino-embedded".to_owned()]);
        assert_eq!(found, Geometry::Vit { patches: 256, tokens: 257, deepest: 5 });
    }

    #[test]
    fn a_unet_on_patches_has_fewer_places_than_the_picture() {
        let shape = |path: &str, shape: &[usize]| (path.to_owned(), shape.to_vec());
        let of = |read: usize, channels: usize| {
            let shapes = [
                shape("denoiser.unet.conv_in.weight", &[64, read, 3, 3]),
                shape("denoiser.unet.down_blocks.1.resnets.0.conv1.weight", &[96, 96, 3, 3]),
            ];
            Geometry::of(&shapes, 32, channels, 20).expect("a U-Net")
        };
        // Pictures of three channels in patches of two by two: 16 x 16 places, around which lie 32 x 32.
        let patched = of(12, 3);
        for (path, expected) in [
            ("denoiser.unet.conv_in.weight", [256; 3]),
            ("denoiser.unet.down_blocks.1.resnets.0.conv1.weight", [64; 3]),
            ("denoiser.unet.conv_out.weight", [256; 3]),
            ("detail_in.weight", [1024; 3]),
        ] {
            assert_eq!(positions(&patched, path), expected, "{path}");
        }
        // Latents as they are, and latents beside a mask and a picture.
        for read in [4, 9] {
            assert_eq!(positions(&of(read, 4), "denoiser.unet.conv_in.weight"), [1024; 3], "{read}");
        }
    }

    #[test]
    fn mobile_net_halves_at_its_strided_blocks_and_stops_at_its_deepest_hook() {
        let net = Geometry::MobileNet { side: 64, deepest: 13 };
        assert_eq!(positions(&net, "blocks.1.depthwise.conv.weight"), [1024, 256, 256]);
        assert_eq!(net.place("blocks.13.expand.conv.weight"), None);
        assert_eq!([3, 6, 10, 13].map(|n| net.hook_positions(&format!("mobilenet-{n}"))), [256, 64, 16, 16]);
    }

    #[test]
    fn a_decoder_ends_at_the_pictures_side() {
        let kl = Geometry::Kl { side: 512, levels: 4 };
        assert_eq!(positions(&kl, "decoder.conv_in.weight"), [4096; 3]);
        assert_eq!(positions(&kl, "decoder.up_blocks.0.upsamplers.0.conv.weight"), [16_384; 3]);
        assert_eq!(positions(&kl, "decoder.up_blocks.3.resnets.2.conv1.weight"), [262_144; 3]);
    }
}
