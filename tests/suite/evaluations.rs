//! Evaluations: of folders of pictures against the reference libraries' figures, of models without a student, of lists of prompts.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use add_core::{
    error::CoreError,
    evaluate::{EvaluatedRows, Evaluation, EvaluationObserver, Folders, evaluate, evaluate_folders},
    read,
    recipe::DeviceChoice,
};
use add_data::{Keep, RgbImage, decode_rgb, write_png};
use add_eval::Row;
use add_nn::{
    inception_v3::InceptionV3,
    layers::{Init, stream_of, unit},
};
use add_plugin::Network as _;
use add_weights::{NamedTensor, Precision, save};
use burn::tensor::{Device, Tensor, TensorData};
use tempfile::TempDir;

use crate::{
    binary::{add, refuses},
    root,
};

/// The seed of `crates/add-parity/peers/evaluation.py`.
const SEED: u64 = 11;
/// Its pictures of each folder.
const COUNT: usize = 16;

struct Quiet;

impl EvaluationObserver for Quiet {
    fn progress(&mut self, _what: &str, _done: usize, _total: usize) {}
}

/// The pictures of the reference script: waves of integer arithmetic.
fn pictures(folder: &Path, kind: &str, [width, height]: [u32; 2], count: usize) {
    fs::create_dir_all(folder).unwrap();
    for i in 0..count {
        let stream = stream_of(&format!("{kind}.{i}"), SEED);
        let p: Vec<i64> = (0..12).map(|at| ((unit(stream, at) + 1.0) * 8.0) as i64).collect();
        let value = |c: usize, x: i64, y: i64| {
            (p[4 * c] * x + p[4 * c + 1] * y + p[4 * c + 2] * 16 + ((p[4 * c + 3] * x * y) >> 6)) & 255
        };
        let pixel = |x: u32, y: u32| [0, 1, 2].map(|c| value(c, x.into(), y.into()) as u8).into();
        write_png(&folder.join(format!("{i:03}.png")), &RgbImage::from_fn(width, height, pixel), &[])
            .unwrap();
    }
}

/// Two folders of them.
pub(crate) fn both(folder: &TempDir, count: usize) -> [PathBuf; 2] {
    let [made, real] = ["made", "real"].map(|kind| folder.path().join(kind));
    pictures(&made, "made", [80, 64], count);
    pictures(&real, "real", [96, 72], count);
    [made, real]
}

/// Inception's weights by the script's formula.
fn inception(path: &Path) {
    let device = Device::flex();
    let mut tensors = BTreeMap::new();
    InceptionV3::new(&Init::new(0, &device)).for_each_shape(&mut |name, shape| {
        let name = InceptionV3::pytorch_fid_name(name);
        let count = shape.iter().product::<usize>();
        let (offset, scale) = if name.ends_with("running_var") {
            (1.0, 0.5)
        } else if name.ends_with("bn.weight") {
            (1.0, 0.2)
        } else if shape.len() > 1 {
            (0.0, (6.0 / (count / shape[0]) as f64).sqrt())
        } else {
            (0.0, 0.1)
        };
        let stream = stream_of(&name, SEED);
        let values: Vec<f32> = (0..count).map(|i| (offset + scale * unit(stream, i)) as f32).collect();
        let values = Tensor::from_data(TensorData::new(values, [count]), &device);
        tensors.insert(name, NamedTensor { shape: shape.to_vec(), values });
    });
    save(path, &tensors, Precision::F32, &BTreeMap::new()).unwrap();
}

fn folders(metrics: &str, images: &[&Path], references: Option<&Path>) -> Folders {
    Folders {
        metrics: read::metrics(metrics, "metrics").unwrap(),
        device: DeviceChoice::Flex(),
        images: images.iter().map(|path| path.to_path_buf()).collect(),
        references: references.map(Path::to_path_buf),
        captions: None,
        cache: Keep::Off(),
        save_references: None,
        resamples: 0,
    }
}

fn figures(found: &Evaluation) -> BTreeMap<String, f64> {
    found.rows.iter().map(|row| (row.metric.clone(), row.value)).collect()
}

/// pytorch-fid 0.3.0, torch-fidelity 0.4.0, clean-fid 0.1.35 and dgm-eval on the same pictures with the same weights; see
/// `crates/add-parity/peers/README.md`.
#[test]
fn figures_on_inception_are_those_of_the_peers() {
    let folder = TempDir::new().unwrap();
    let [made, real] = both(&folder, COUNT);
    let weights = folder.path().join("inception.safetensors");
    inception(&weights);
    let network = format!("InceptionV3(weights: \"{}\")", weights.display());
    let look = format!("features: {network}, look: Inception(Torch)");
    let metrics = format!(
        "[Fid(features: {network}), Fid(features: {network}, resize: Tf1), Fid(features: {network}, resize: Clean), \
         Kid(features: {network}, resize: Tf1), Kid(features: {network}, resize: Clean), PrecisionRecall({look}), \
         DensityCoverage({look})]"
    );
    let request = Folders {
        cache: Keep::Folder(folder.path().join("cache")),
        ..folders(&metrics, &[&made], Some(&real))
    };
    let got = figures(&evaluate_folders(&request, &mut Quiet).unwrap());
    let peers: serde_json::Value = serde_json::from_str(
        &fs::read_to_string(root().join("crates/add-parity/peers/figures-16.json")).unwrap(),
    )
    .unwrap();
    let mut compared = 0;
    for figure in peers["figures"].as_array().unwrap() {
        let (name, want) = (figure[0].as_str().unwrap(), figure[2].as_f64().unwrap());
        let Some(got) = got.get(name) else { continue };
        let allowed = if name.starts_with("fid") { 1e-3 } else { 1e-4 };
        assert!((got - want).abs() <= allowed * want.abs(), "{name}: got {got}, want {want}");
        compared += 1;
    }
    assert_eq!(compared, 9);

    // The statistics that are written serve in place of the folder, and a cache gives the same figures.
    let statistics = folder.path().join("statistics.npz");
    let fid = format!("[Fid(features: {network})]");
    let save = Folders {
        save_references: Some(statistics.clone()),
        cache: request.cache.clone(),
        ..folders(&fid, &[&made], Some(&real))
    };
    let cached = figures(&evaluate_folders(&save, &mut Quiet).unwrap());
    assert_eq!(cached["fid-torch"].to_bits(), got["fid-torch"].to_bits());
    let stated = figures(&evaluate_folders(&folders(&fid, &[&made], Some(&statistics)), &mut Quiet).unwrap());
    assert!((stated["fid-torch"] - got["fid-torch"]).abs() < 1e-6 * got["fid-torch"]);
    let kid = folders(&format!("[Kid(features: {network})]"), &[&made], Some(&statistics));
    let error = evaluate_folders(&kid, &mut Quiet).unwrap_err().to_string();
    assert!(error.contains("serve Frechet distances alone"), "{error}");
}

const MOBILENET: &str = "[Frechet(features: MobileNetV2(blocks: [13])), Kernel(features: MobileNetV2(blocks: [13])), \
                         PrecisionRecall(features: MobileNetV2(blocks: [13]))]";

#[test]
fn a_folder_is_at_distance_zero_from_itself_and_farther_from_another() {
    let folder = TempDir::new().unwrap();
    let [made, real] = both(&folder, COUNT);
    let request = Folders { resamples: 20, ..folders(MOBILENET, &[&real, &made], Some(&real)) };
    let found = evaluate_folders(&request, &mut Quiet).unwrap();
    let value = |model: &str, metric: &str| {
        let row = found.rows.iter().find(|row| row.model == model && row.metric == metric).unwrap();
        (row.value, row.interval.unwrap())
    };
    assert!(value("real", "fd-mobilenet-13").0 < 1e-6);
    let (distance, (low, high)) = value("made", "fd-mobilenet-13");
    assert!(distance > 0.1 && low < distance && distance < high, "{low} {distance} {high}");
    assert!((value("real", "precision-mobilenet-13").0 - 1.0).abs() < 1e-12);
    assert!(value("real", "kd-mobilenet-13").0 < value("made", "kd-mobilenet-13").0);
    assert!(found.compared.is_some());
}

#[test]
fn wrong_inputs_are_errors_before_any_work() {
    let folder = TempDir::new().unwrap();
    let [made, real] = both(&folder, 4);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let list = folder.path().join("captions.txt");
    fs::write(&list, "one\ntwo\n").unwrap();
    let four = folder.path().join("four.txt");
    fs::write(&four, "one\ntwo\nthree\nfour\n").unwrap();
    let path = |path: &Path| path.display().to_string();
    pictures(&folder.path().join("one"), "one", [80, 64], 1);
    let one = path(&folder.path().join("one"));
    let [made, real, empty, list, four] = [&made, &real, &empty, &list, &four].map(|p| path(p));
    let metrics = ["--metrics", MOBILENET];
    let against = |more: &[&str]| [&["eval"], more, metrics.as_slice()].concat().join("\u{1f}");
    for (arguments, words) in [
        (
            against(&["--images", &empty, "--references", &real]),
            "expected pictures (.jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .dib, .gif, .tif, .tiff), found none among 0 files",
        ),
        (against(&["--images", &made]), "--references: expected a folder of real pictures"),
        (
            against(&["--images", &made, "--references", &real, "--captions", &list]),
            "expected a caption for each of its 4 pictures, got 2 captions",
        ),
        (against(&["--images", &made, "--references", &list]), "statistics serve Frechet distances alone"),
    ] {
        refuses(&arguments.split('\u{1f}').collect::<Vec<_>>(), 2, &[words]);
    }
    // Before any network: this one's weights are not on this machine.
    let inception = |more: &str| format!("[PrecisionRecall(features: InceptionV3(){more})]");
    for (metrics, images, references, words) in [
        (inception(""), &one, &real, "one: PrecisionRecall needs at least 4 pictures, got 1"),
        (
            inception(""),
            &made,
            &one,
            "one: PrecisionRecall needs at least 4 real pictures to compare with, got 1",
        ),
        (
            inception(", neighbours: 18446744073709551615"),
            &made,
            &real,
            "needs at least 18446744073709551615",
        ),
    ] {
        let arguments = ["eval", "--images", images, "--references", references, "--metrics", &metrics];
        refuses(&arguments, 2, &[words]);
    }
    // What does not fit together is seen by its shapes: there are no such weights, and none are looked for.
    let b32 = "images: Clip(weights: \"none\", model: B32)";
    for (metrics, words) in [
        (
            format!("[ClipScore({b32}, texts: ClipL(weights: \"none\"))]"),
            "texts: expected Clip or OpenClipG, whose pooled embedding lies in the common space of pictures and texts, got ClipL",
        ),
        (
            format!("[ClipScore({b32}, texts: Clip(weights: \"none\", model: L14))]"),
            "texts: expected the text tower of the same CLIP, of width 512, got one of width 768",
        ),
        (
            "[Fid(features: DinoV2(weights: \"none\"))]".to_owned(),
            "expected a network of inception, got dinov2",
        ),
        ("[CaptionAccuracy(judge: MobileNetV2())]".to_owned(), "is not a classifier; choose one that is"),
    ] {
        let arguments =
            ["eval", "--images", &made, "--references", &real, "--captions", &four, "--metrics", &metrics];
        refuses(&arguments, 2, &[words]);
    }
    // Nor are these looked for where the pictures or their statistics cannot be compared.
    let [cut, grey, unread, narrow] =
        ["cut", "grey", "unread", "narrow.npz"].map(|name| folder.path().join(name));
    for other in [&cut, &unread] {
        pictures(other, "made", [80, 64], 4);
    }
    let last = fs::read(cut.join("003.png")).unwrap();
    fs::write(cut.join("003.png"), &last[..last.len() - 20]).unwrap();
    fs::write(unread.join("b.avif"), "").unwrap();
    fs::create_dir(&grey).unwrap();
    for i in 0..4 {
        image::GrayImage::from_pixel(9, 9, image::Luma([i])).save(grey.join(format!("{i}.png"))).unwrap();
    }
    add_eval::write_npz(&narrow, &[0.0; 3], &[0.0; 9]).unwrap();
    let [cut, grey, unread, narrow] = [&cut, &grey, &unread, &narrow].map(|p| path(p));
    for (images, references, words) in [
        (&cut, &real, &["003.png: cannot decode the picture: it is cut off"][..]),
        (&real, &cut, &["003.png: cannot decode the picture: it is cut off"]),
        (&unread, &real, &["unread: 1 of its pictures are of a format that is not read (such as b.avif)"]),
        (
            &grey,
            &real,
            &["grey: all pictures are grey, of one channel, and those of the references have three"],
        ),
        (&made, &grey, &["the references: all pictures are grey", "those of made have three"]),
        (&made, &narrow, &["narrow.npz: the statistics are of 3 features, Fid compares 2048 of InceptionV3"]),
    ] {
        let fid = "[Fid(features: InceptionV3(weights: \"none\"))]";
        refuses(&["eval", "--images", images, "--references", references, "--metrics", fid], 2, words);
    }
    refuses(&["eval", "--images", &made, "--metrics", "[Fidd()]"], 2, &["--metrics: no Metric named `Fidd`"]);
    refuses(&["eval"], 2, &["<RECIPE>"]);
}

const TINY: &str = "Mini(channels: [16, 32], layers: 1, attending_levels: 1, heads: 2, detail: 4)";

/// A recipe that only samples, with a tiny model of drawn values.
fn sampling(folder: &Path) -> PathBuf {
    let path = folder.join("tiny.ron");
    let text = format!(
        "(name: \"tiny\", data: Emoji(), codec: Identity(), text: Mini(), model: (backbone: {TINY}, schedule: \
         ZeroTerminalSnr(inner: ScaledLinear()), weights: Random()), objective: Off(), sampling: (sampler: Ddim(), steps: 2), \
         evaluation: (metrics: [Frechet(features: MobileNetV2(blocks: [13])), Diversity(captions: 2, pictures: 4)], samples: 6, \
         latency: 2))"
    );
    fs::write(&path, text).unwrap();
    path
}

fn no_student() -> Result<PathBuf, CoreError> {
    panic!("no row is about a student")
}

#[test]
fn models_without_a_student_are_evaluated() {
    let folder = TempDir::new().unwrap();
    let path = sampling(folder.path());
    let small = "data=Emoji(size: 32, styles: [Fx])".to_owned();
    let alone = read::read(&path, std::slice::from_ref(&small)).unwrap();
    let found = evaluate(&alone, &no_student, EvaluatedRows::Full, &mut Quiet).unwrap();
    let row = |found: &Evaluation, model: &str, metric: &str| -> Row {
        let row =
            found.rows.iter().find(|row| row.model == model && row.metric == metric && row.split == "train");
        row.unwrap_or_else(|| panic!("{model} {metric} in {:?}", found.rows)).clone()
    };
    let own = row(&found, "tiny", "fd-mobilenet-13");
    assert!(own.value > 0.0 && own.latency.is_some_and(|l| l.p95 >= l.median) && own.captions.is_some());
    assert_eq!(row(&found, "tiny", "diversity").n, 8);

    let released = format!(
        "Released(text: Mini(), codec: Identity(), model: (backbone: {TINY}, schedule: ZeroTerminalSnr(inner: ScaledLinear()), \
         weights: Random()))"
    );
    let rows = format!(
        "evaluation.rows=[(model: Stated, sampler: Ddim(), steps: 1), (model: Recipe(\"tiny.ron\"), name: \"by recipe\", \
         sampler: Ddim(), steps: 2), (model: {released}, name: \"released\", sampler: Ddim(), steps: 2, size: 64, \
         measured_at: 32)]"
    );
    let loaded = read::read(&path, &[small, rows]).unwrap();
    let found = evaluate(&loaded, &no_student, EvaluatedRows::Full, &mut Quiet).unwrap();
    assert_eq!(
        row(&found, "by recipe", "fd-mobilenet-13").value.to_bits(),
        own.value.to_bits(),
        "the same model"
    );
    assert_eq!(row(&found, "released", "fd-mobilenet-13").made_at, Some(64));
    assert_eq!(row(&found, "model", "fd-mobilenet-13").steps, 1);
    // One row a model in the table: diversity stands in the row of the other figures.
    let table = add_eval::to_markdown(&found.rows);
    assert_eq!(table.lines().filter(|line| line.contains("| train ")).count(), 3, "{table}");
}

#[test]
fn an_evaluation_of_nothing_is_refused() {
    let folder = TempDir::new().unwrap();
    let recipe = sampling(folder.path()).display().to_string();
    let out = folder.path().join("out").display().to_string();
    let with = |set: &str, words: &str| refuses(&["eval", &recipe, "--out", &out, "--set", set], 2, &[words]);
    with("evaluation.samples=0", "evaluation.samples: expected a positive number");
    with("evaluation.samples=100000000", "evaluation.samples: expected at most 1000000");
    with("evaluation.metrics=[]", "evaluation.metrics: nothing to measure");
    with("evaluation.samples=1", "evaluation.samples: Frechet needs at least 2 pictures, got 1");
    // An evaluation after training is refused before the training.
    with("evaluation.samples_after_training=1", "evaluation.samples_after_training: Frechet needs");
    let metrics = "evaluation.metrics=[PrecisionRecall(features: InceptionV3(), neighbours: 10)]";
    with(metrics, "PrecisionRecall needs at least 11 pictures, got 6");
    with(
        "evaluation.rows=[(model: Teacher, sampler: Ddim(), steps: 1)]",
        "has no model Teacher; expected Stated",
    );
    with("evaluation.rows=[(model: Stated, sampler: Ddim(), steps: 1, size: 33)]", "expected a multiple of");
}

#[test]
fn a_list_of_prompts_gives_the_same_pictures_in_one_process_in_parts_and_resumed() {
    let folder = TempDir::new().unwrap();
    let recipe = sampling(folder.path()).display().to_string();
    let list = folder.path().join("prompts.jsonl");
    let lines: Vec<String> = (0..37).map(|i| format!("{{\"prompt\": \"red heart number {i}\"}}\n")).collect();
    fs::write(&list, lines.concat()).unwrap();
    let list = list.display().to_string();
    let make = |out: &str, more: &[&str]| {
        let out = folder.path().join(out).display().to_string();
        let output = add(&[&["sample", &recipe, "--prompts", &list, "--out", &out], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let all = |out: &str| -> Vec<RgbImage> {
        let file = |i: usize| folder.path().join(out).join(format!("{i:06}.png"));
        (0..37).map(|i| decode_rgb(&fs::read(file(i)).unwrap()).unwrap()).collect()
    };
    make("whole", &[]);
    make("parts", &["--shard", "1/2"]);
    make("parts", &["--shard", "0/2"]);
    assert_eq!(all("whole"), all("parts"));
    for lost in ["000003.png", "000036.png"] {
        fs::remove_file(folder.path().join("whole").join(lost)).unwrap();
    }
    assert!(make("whole", &[]).contains("2 pictures made"));
    assert!(make("whole", &[]).contains("0 pictures made"));
    assert_eq!(all("whole"), all("parts"));
    let whole = folder.path().join("whole").display().to_string();
    let other = ["sample", &recipe, "--prompts", &list, "--out", &whole, "--seed", "1"];
    refuses(&other, 2, &["000000.png: it was made with another seed"]);
    refuses(&["sample", &recipe, "--prompts", &list], 2, &["--out"]);
    refuses(&["sample", &recipe, "--prompts", &list, "--out", &whole, "--shard", "2/2"], 2, &["0/4 to 3/4"]);
}
