//! What is timed: every shape stands here, for all libraries.

use serde::Serialize;

use crate::{Library, error::BenchError};

/// One bench.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Case {
    /// Its name in tables.
    pub(crate) name: &'static str,
    /// What it does, as the other libraries are told.
    pub(crate) work: Work,
    /// Whether both sides fit into the memory together.
    #[serde(skip)]
    pub(crate) room: Room,
    /// Which libraries can do it too.
    #[serde(skip)]
    pub(crate) peers: Peers,
}

impl Case {
    /// Whether `library` can do the work.
    pub(crate) fn is_known_to(&self, library: Library) -> bool {
        match library {
            Library::Torch => self.peers != Peers::None,
            Library::TorchBf16 | Library::TorchCompile => self.peers != Peers::None && self.is_of_networks(),
            Library::Openvino | Library::OpenvinoBf16 => {
                matches!(self.work, Work::Unet { .. } | Work::OneStepPicture { .. })
            }
            Library::Sdcpp => matches!(self.work, Work::OneStepPicture { .. }),
            Library::Candle => self.peers == Peers::TorchAndCandle,
            Library::Webdataset => matches!(self.work, Work::Feed { .. }),
        }
    }

    /// Whether the work is that of whole networks.
    fn is_of_networks(&self) -> bool {
        matches!(self.work, Work::Unet { .. } | Work::OneStepPicture { .. } | Work::TrainingStep { .. })
    }
}

/// Whether two processes that do the work fit into the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// Both sides live through all rounds.
    Shared,
    /// Each round starts one side, lets it work and ends it before the other starts.
    Alone,
}

/// Which libraries can do the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peers {
    /// None of those below: work of this project's own, or reading pictures.
    None,
    /// The peer is PyTorch.
    Torch,
    /// PyTorch and candle.
    TorchAndCandle,
}

/// How far an operation is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pass {
    /// The values.
    Forward,
    /// The values, then the gradients of every input of `sum(y * constant)`.
    Both,
}

/// What is done once per measurement.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Work {
    /// A convolution with bias that keeps the size: `x: [B, C, H, W]`.
    Conv { x: [usize; 4], out: usize, kernel: usize, pass: Pass },
    /// Group normalisation and SiLU in 32 groups.
    GroupNormSilu { x: [usize; 4], pass: Pass },
    /// Scaled dot-product attention: `q: [B, H, N, D]` on `keys` keys.
    Attention { q: [usize; 4], keys: usize, pass: Pass },
    /// Layer normalisation of `[B, N, C]`.
    LayerNorm { x: [usize; 3], pass: Pass },
    /// `[B, N, 2 C]` to `[B, N, C]`.
    Geglu { x: [usize; 3], pass: Pass },
    /// A linear layer with bias on `[B, N, C]`.
    Linear { x: [usize; 3], out: usize, pass: Pass },
    /// One forward pass of a released U-Net at batch 1.
    Unet { model: Model, latent: usize, held: Held },
    /// One AdamW step of a U-Net of 34 M parameters with SD2.1's topology on a batch of four 4x32x32 latents.
    TrainingStep { held: Held },
    /// One picture of 512 pixels: text encoder, one U-Net call, decoder.
    OneStepPicture { codec: Codec, held: Held },
    /// The next `batches` of shuffled JPEG pictures out of tar shards, their central squares at `size` pixels: several, since some
    /// lie ready when they are asked for.
    Feed { size: usize, batch: usize, batches: usize },
    /// Opening the kept index of ten million samples and loading a batch far into a run.
    Resumed { batch: usize },
    /// One step of the main job's recipe.
    EmojiStep,
}

/// What our networks hold their values in, and compute in; a peer has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Held {
    /// Single precision.
    F32,
    /// Its upper half.
    Bf16,
}

/// A released U-Net.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Model {
    /// 0.86 B parameters.
    Sd15,
    /// 2.57 B parameters.
    Sdxl,
}

/// A decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Codec {
    /// The decoder of diffusers' `AutoencoderKL`.
    Kl,
    /// The decoder of TAESD, diffusers' `AutoencoderTiny`.
    Tiny,
}

/// Every bench, in the order of the table.
pub(crate) fn all() -> Vec<Case> {
    use Pass::{Both, Forward};
    let case = |name, work| Case { name, work, room: Room::Shared, peers: Peers::Torch };
    let own = |name, work| Case { peers: Peers::None, ..case(name, work) };
    let conv = |name, x, out, kernel, pass| case(name, Work::Conv { x, out, kernel, pass });
    let attention = |name, q, keys, pass| case(name, Work::Attention { q, keys, pass });
    let unet = |name, model, held| case(name, Work::Unet { model, latent: 64, held });
    let picture = |name, codec, held| case(name, Work::OneStepPicture { codec, held });
    let norm = |name, x, pass| case(name, Work::GroupNormSilu { x, pass });
    let (n64, n32, n16, b32) = ([1, 320, 64, 64], [1, 640, 32, 32], [1, 1280, 16, 16], [32, 64, 32, 32]);
    let (self_4096, self_1024) = ([1, 8, 4096, 40], [1, 10, 1024, 64]);
    vec![
        conv("conv3x3 320 64x64 forward", n64, 320, 3, Forward),
        conv("conv3x3 320 64x64 both", n64, 320, 3, Both),
        conv("conv3x3 640 32x32 forward", n32, 640, 3, Forward),
        conv("conv3x3 640 32x32 both", n32, 640, 3, Both),
        conv("conv3x3 1280 16x16 forward", n16, 1280, 3, Forward),
        conv("conv3x3 1280 16x16 both", n16, 1280, 3, Both),
        conv("conv3x3 64 32x32 b32 forward", b32, 64, 3, Forward),
        conv("conv3x3 64 32x32 b32 both", b32, 64, 3, Both),
        conv("conv1x1 960>640 32x32 forward", [1, 960, 32, 32], 640, 1, Forward),
        conv("conv1x1 960>640 32x32 both", [1, 960, 32, 32], 640, 1, Both),
        norm("groupnorm+silu 320 64x64 forward", n64, Forward),
        norm("groupnorm+silu 320 64x64 both", n64, Both),
        attention("attention 4096x40x8 forward", self_4096, 4096, Forward),
        attention("attention 4096x40x8 both", self_4096, 4096, Both),
        attention("attention 1024x64x10 forward", self_1024, 1024, Forward),
        attention("attention 1024x64x10 both", self_1024, 1024, Both),
        attention("attention 4096>77x40x8 forward", self_4096, 77, Forward),
        attention("attention 4096>77x40x8 both", self_4096, 77, Both),
        case("layernorm 4096x320 forward", Work::LayerNorm { x: [1, 4096, 320], pass: Forward }),
        case("layernorm 4096x320 both", Work::LayerNorm { x: [1, 4096, 320], pass: Both }),
        case("geglu 4096x1280 forward", Work::Geglu { x: [1, 4096, 2560], pass: Forward }),
        case("geglu 4096x1280 both", Work::Geglu { x: [1, 4096, 2560], pass: Both }),
        case("linear 4096 320>2560 forward", Work::Linear { x: [1, 4096, 320], out: 2560, pass: Forward }),
        case("linear 4096 320>2560 both", Work::Linear { x: [1, 4096, 320], out: 2560, pass: Both }),
        Case { peers: Peers::TorchAndCandle, ..unet("sd15 unet 64x64", Model::Sd15, Held::F32) },
        unet("sd15 unet 64x64 bf16", Model::Sd15, Held::Bf16),
        Case { room: Room::Alone, ..unet("sdxl unet 64x64", Model::Sdxl, Held::F32) },
        Case { room: Room::Alone, ..unet("sdxl unet 64x64 bf16", Model::Sdxl, Held::Bf16) },
        case("34M training step", Work::TrainingStep { held: Held::F32 }),
        case("34M training step bf16", Work::TrainingStep { held: Held::Bf16 }),
        picture("sd-turbo 512 kl", Codec::Kl, Held::F32),
        picture("sd-turbo 512 kl bf16", Codec::Kl, Held::Bf16),
        picture("sd-turbo 512 tiny", Codec::Tiny, Held::F32),
        picture("sd-turbo 512 tiny bf16", Codec::Tiny, Held::Bf16),
        own("1024 JPEGs of 512x384 to 256", Work::Feed { size: 256, batch: 64, batches: 16 }),
        own("resuming in 10 million samples", Work::Resumed { batch: 16 }),
        own("emoji ADD step", Work::EmojiStep),
    ]
}

/// The bench called `part`, or all whose names contain it.
pub(crate) fn chosen(part: Option<&str>) -> Result<Vec<Case>, BenchError> {
    let Some(part) = part else { return Ok(all()) };
    if let Ok(case) = find(part) {
        return Ok(vec![case]);
    }
    let cases: Vec<Case> = all().into_iter().filter(|case| case.name.contains(part)).collect();
    if cases.is_empty() { Err(unknown(part)) } else { Ok(cases) }
}

/// The bench called `name`.
pub(crate) fn find(name: &str) -> Result<Case, BenchError> {
    all().into_iter().find(|case| case.name == name).ok_or_else(|| unknown(name))
}

/// The error about a name that no bench has.
fn unknown(name: &str) -> BenchError {
    let names = all().iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
    BenchError::Unknown { name: name.to_owned(), names }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for case in all() {
            assert_eq!(all().iter().filter(|other| other.name == case.name).count(), 1, "{}", case.name);
            assert_eq!(find(case.name).expect("it is there").name, case.name);
        }
        assert!(find("nothing").unwrap_err().to_string().contains("34M training step"));
    }

    #[test]
    fn a_whole_name_is_one_bench_and_a_part_of_names_all_of_them() {
        let count = |part| chosen(part).map_or(0, |cases| cases.len());
        assert_eq!([Some("sd15 unet 64x64"), Some("sd15"), Some("nothing")].map(count), [1, 2, 0]);
        assert_eq!(count(None), all().len());
    }

    #[test]
    fn only_whole_networks_go_to_the_libraries_that_know_no_operations() {
        let knows = |library: Library| {
            all().iter().filter(|case| case.is_known_to(library)).map(|case| case.name).collect::<Vec<_>>()
        };
        assert_eq!(knows(Library::Candle), ["sd15 unet 64x64"]);
        assert_eq!(knows(Library::Sdcpp).len(), 4);
        assert_eq!(knows(Library::Openvino).len(), 8);
        assert!(knows(Library::TorchBf16).contains(&"34M training step"));
        assert!(!knows(Library::Torch).contains(&"emoji ADD step"));
        assert_eq!(knows(Library::Webdataset), ["1024 JPEGs of 512x384 to 256"]);
    }

    #[test]
    fn the_other_libraries_are_told_kind_shapes_and_pass() {
        let told = serde_json::to_value(find("attention 4096x40x8 both").expect("it is there").work).unwrap();
        let expected = serde_json::json!({
            "kind": "attention", "q": [1, 8, 4096, 40], "keys": 4096, "pass": "both",
        });
        assert_eq!(told, expected);
    }
}
