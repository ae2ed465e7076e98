//! Every reader of bytes that others made, on sound bytes with damage done to them: it answers or refuses, soon, and
//! never panics.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use add_core::{read, weights};
use add_eval::report::{Presentation, render};
use add_train::checkpoint;
use add_weights::{
    Location, WeightsFile, doctor,
    lora::{Layers, LoraFile, Part},
};
use burn::tensor::Device;
use image::ImageFormat;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};

use crate::{fuzz_data::picture, golden, root};

/// Most time for one input. They are small: seconds mean a loop that grows with a number in the input.
const MOST_TIME: Duration = Duration::from_secs(5);

/// What readers stumble over.
const TOKENS: [&[u8]; 24] = [
    b"-1",
    b"0",
    b"18446744073709551615",
    b"18446744073709551616",
    b"1e999",
    b"NaN",
    b"null",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\uD800",
    b"[[[[[[[[",
    b"((((((((",
    b"}",
    b")",
    b",",
    b":",
    b"//",
    b"/*",
    b"r#\"",
    b"../",
    b"\0",
    b"\xFF",
    b"\xE2\x80\xA8",
];

/// One damage.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Set(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, &'static [u8]),
    /// A piece of the bytes, again, elsewhere.
    Splice(Index, usize, Index),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        let piece = |index: &Index, length: usize, bytes: &[u8]| {
            let from = at(index, bytes);
            from..(from + length).min(bytes.len())
        };
        match self {
            Self::Flip(index, bit) if !bytes.is_empty() => *index.get_mut(bytes) ^= 1_u8 << bit,
            Self::Set(index, byte) if !bytes.is_empty() => *index.get_mut(bytes) = *byte,
            Self::Flip(..) | Self::Set(..) => {}
            Self::Cut(index) => bytes.truncate(at(index, bytes)),
            Self::Remove(index, length) => drop(bytes.drain(piece(index, *length, bytes))),
            Self::Insert(index, token) => {
                let at = at(index, bytes);
                bytes.splice(at..at, token.iter().copied());
            }
            Self::Splice(from, length, to) => {
                let copied = bytes[piece(from, *length, bytes)].to_vec();
                let to = at(to, bytes);
                bytes.splice(to..to, copied);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), 1_usize..40).prop_map(|(at, length)| Damage::Remove(at, length)),
        (any::<Index>(), select(&TOKENS[..])).prop_map(|(at, token)| Damage::Insert(at, token)),
        (any::<Index>(), 1_usize..60, any::<Index>()).prop_map(|(from, n, to)| Damage::Splice(from, n, to)),
    ]
}

/// `read` meets `sound` with one to four damages, so many times.
pub(crate) fn survives(sound: impl AsRef<[u8]>, cases: u32, mut read: impl FnMut(&[u8])) {
    let sound = sound.as_ref();
    // The reader knows the bytes before they are damaged.
    read(sound);
    let read = std::cell::RefCell::new(read);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&vec(damage(), 1..5), |damages| {
        let mut bytes = sound.to_vec();
        for damage in &damages {
            damage.apply(&mut bytes);
        }
        let began = Instant::now();
        (read.borrow_mut())(&bytes);
        prop_assert!(began.elapsed() < MOST_TIME, "{:?} for {}", began.elapsed(), bytes.escape_ascii());
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// As text; bytes that are none are replaced, since a string cannot hold them.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A reader of a file gets the bytes as a file.
pub(crate) fn at(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

pub(crate) fn shipped(path: &str) -> Vec<u8> {
    fs::read(root().join(path)).unwrap()
}

#[test]
fn weights_survive() {
    let entry = |name: &str, dtype: &str, shape: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let entries = [
        entry("conv_in.weight", "F32", "[2,3]", 0, 24),
        entry("y", "F16", "[]", 24, 26),
        entry("z", "I64", "[1]", 26, 34),
    ];
    let header = format!(r#"{{"__metadata__":{{"add.format":"1"}},{}}}"#, entries.join(","));
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0x3C; 34]].concat();
    survives(&bytes, 1000, |bytes| {
        // Either it is refused, or all that it claims to hold can be read.
        if let Ok(file) = WeightsFile::from_bytes("fuzz", bytes.to_vec()) {
            for name in file.tensors().keys() {
                let _ = (file.floats::<f32>(name), file.integers(name));
            }
            let _ = file.check_finite(file.tensors().keys().map(String::as_str));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    at(&folder.path().join("a.safetensors"), &bytes);
    let index = folder.path().join("model.safetensors.index.json");
    let shards = r#"{"metadata":{"total_size":34},"weight_map":{"conv_in.weight":"a.safetensors","y":"a.safetensors","z":"a.safetensors"}}"#;
    survives(shards, 300, |bytes| {
        at(&index, bytes);
        let _ = WeightsFile::open(&index);
    });
}

#[test]
fn loras_survive() {
    let tensors = [
        ("a.lora_up.weight", "[2,1]", 8),
        ("a.lora_down.weight", "[1,2]", 8),
        ("a.alpha", "[]", 4),
        ("b.lokr_w1", "[2,1]", 8),
        ("b.lokr_w2_a", "[1,1]", 4),
        ("b.lokr_w2_b", "[1,2]", 8),
    ];
    let layers =
        Layers::new([("a.weight".to_owned(), vec![2, 2]), ("b.weight".to_owned(), vec![2, 2, 1, 1])]);
    let mut end = 0_usize;
    let entries = tensors.map(|(name, shape, bytes)| {
        let start = end;
        end += bytes;
        format!(r#""lora_unet_{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    });
    let peft = r#"{\"unet.r\": 2, \"unet.lora_alpha\": 4}"#;
    let header = format!(r#"{{"__metadata__":{{"lora_adapter_metadata":"{peft}"}},{}}}"#, entries.join(","));
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0x3C; end]].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    survives(&bytes, 1000, |bytes| {
        at(&path, bytes);
        let Ok(lora) = LoraFile::open(&path) else { return };
        for part in [Part::Denoiser, Part::Text, Part::Text2] {
            for change in lora.changes(part, &layers).into_iter().flatten() {
                let _ = change.values(&Device::flex());
            }
        }
    });
}

#[test]
fn recipes_survive() {
    for path in ["configs/emoji.ron", "configs/add-xl.ron", "configs/pretrain/emoji-teacher.ron"] {
        survives(shipped(path), 300, |bytes| {
            let _ = read::parse(&lossy(bytes), "fuzz.ron").map_err(shown);
        });
    }
}

/// An error as the terminal shows it, with its place in the text.
fn shown(error: impl Into<miette::Report>) -> String {
    format!("{:?}", error.into())
}

#[test]
fn overrides_survive() {
    let recipe = root().join("configs/emoji.ron");
    for set in [
        "objective.distillation.weighting=Nfsd(w: 1.0)",
        "preview.prompts.3=\"a, (b)\"",
        "model.backbone=Mini(channels: [16, 32], layers: 1, attending_levels: 1, heads: 2, detail: 4)",
    ] {
        survives(set, 300, |bytes| {
            let _ = read::read(&recipe, &[lossy(bytes)]).map_err(shown);
        });
    }
}

#[test]
fn checkpoints_survive() {
    let folder = tempfile::tempdir().unwrap();
    golden::copy(&golden::checkpoint(), folder.path());
    let device = Device::flex();
    for file in ["manifest.json", "manifest.sha256", "heads.safetensors"] {
        let path = folder.path().join(file);
        let sound = fs::read(&path).unwrap();
        survives(&sound, 300, |bytes| {
            at(&path, bytes);
            let read = checkpoint::read(folder.path(), &device);
            assert_eq!(read.is_ok(), bytes == sound, "damage that is not noticed");
        });
        at(&path, &sound);
    }
    // A manifest that fits its seal: what somebody made on purpose.
    let sound = fs::read(folder.path().join("manifest.json")).unwrap();
    survives(sound, 300, |bytes| {
        at(&folder.path().join("manifest.json"), bytes);
        at(&folder.path().join("manifest.sha256"), golden::sha256(bytes).as_bytes());
        let _ = checkpoint::read(folder.path(), &device);
    });
}

#[test]
fn pipelines_survive() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["unet", "scheduler"] {
        fs::create_dir(folder.path().join(part)).unwrap();
    }
    let header = r#"{"conv_in.weight":{"dtype":"F32","shape":[1,1,1,1],"data_offsets":[0,4]}}"#;
    let unet = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
    at(&folder.path().join("unet/diffusion_pytorch_model.safetensors"), &unet);
    let files = [
        (
            "model_index.json",
            r#"{"_class_name":"StableDiffusionPipeline","unet":["diffusers","UNet2DConditionModel"],"_name_or_path":"a/turbo"}"#,
        ),
        (
            "scheduler/scheduler_config.json",
            r#"{"_class_name":"EulerDiscreteScheduler","prediction_type":"epsilon","timestep_spacing":"trailing","num_train_timesteps":1000,"timesteps":[699,799,899,999]}"#,
        ),
        ("README.md", "---\nlicense: openrail++\nlicense_name: x\n---\ntext\n"),
    ];
    for (file, sound) in files {
        at(&folder.path().join(file), sound.as_bytes());
    }
    let model = format!("weights: Diffusers({:?})", folder.path());
    let mut loaded = read::read(&root().join("configs/sd15.ron"), &[]).unwrap();
    let text = read::show(&loaded.recipe);
    let place = text.find("weights: Diffusers(").unwrap();
    let end = place + text[place..].find('\n').unwrap();
    let text = format!("{}{model},{}", &text[..place], &text[end..]);
    loaded.recipe = read::parse(&text, "fuzz.ron").unwrap();
    for (file, sound) in files {
        survives(sound, 300, |bytes| {
            at(&folder.path().join(file), bytes);
            let _ = doctor::diagnose(folder.path()).map(|diagnosis| diagnosis.to_string());
            let _ = (weights::student_timesteps(&loaded), weights::needed(&loaded, weights::Use::Sampling));
        });
    }
}

#[test]
fn places_survive() {
    for place in
        ["hf://owner/repo@main/unet/diffusion_pytorch_model.safetensors", "hf://a/b", "weights/x.json"]
    {
        survives(place, 1000, |bytes| {
            if let Ok(place) = Location::parse(&lossy(bytes)) {
                let shown = place.to_string();
                assert_eq!(Location::parse(&shown).unwrap(), place, "{shown}");
                let _ = (place.named("model.safetensors"), place.cached());
            }
        });
    }
}

#[test]
fn reports_survive() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("samples")).unwrap();
    let metrics = shipped("configs/weights/emoji-student.metrics.jsonl");
    let some: Vec<&[u8]> = metrics.split_inclusive(|&byte| byte == b'\n').take(5).collect();
    let evaluation = shipped("configs/weights/emoji-student.evaluation.json");
    let rows: serde_json::Value = serde_json::from_slice(&evaluation).unwrap();
    let rows = serde_json::to_vec(&rows.as_array().unwrap()[..4]).unwrap();
    let grid = picture(ImageFormat::Png);
    for (file, sound) in
        [("metrics.jsonl", some.concat()), ("evaluation.json", rows), ("samples/step-1.png", grid)]
    {
        survives(sound, 200, |bytes| {
            at(&folder.path().join(file), bytes);
            let page = render(folder.path(), &Presentation::default()).unwrap();
            assert!(page.trim_end().ends_with("</html>"));
        });
    }
}
