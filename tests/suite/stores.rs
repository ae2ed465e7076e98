//! Training data from shards and stores: what other programs wrote is read, and a store that fails now and then gives the
//! same run as a folder.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use add_data::{Feed, Loader, RgbImage, encode_png};
use add_plugin::{DataSource, Dataset, Draw, Plugin, Split};

use crate::{
    binary::command,
    loopback::{Faults, Files, Loopback},
    root,
};

const DRAW: Draw = Draw { seed: 1, step: 0, index: 0 };

pub(crate) fn source(recipe: &str) -> Plugin<dyn DataSource> {
    add_recipe::options().from_str(recipe).unwrap()
}

pub(crate) fn open(recipe: &str) -> Box<dyn Dataset> {
    source(recipe).open(Split::Train).unwrap()
}

fn fixtures() -> PathBuf {
    root().join("tests/fixtures/webdataset")
}

/// Caption and red value of each sample: the fixtures' pictures are flat, with ten times their number in red.
fn seen(data: &dyn Dataset) -> Vec<(String, f32)> {
    let each = (0..data.len()).map(|i| {
        let sample = data.get(i, &DRAW).unwrap();
        assert_eq!((sample.size, sample.pixels.len()), (16, 3 * 16 * 16));
        (sample.caption, (sample.pixels[0] + 1.0) * 127.5)
    });
    each.collect()
}

fn assert_numbered(found: &[(String, f32)], caption: impl Fn(usize) -> String, first: usize, tolerance: f32) {
    for (i, (said, red)) in found.iter().enumerate() {
        assert_eq!(*said, caption(i));
        assert!((red - 10.0 * (first + i) as f32).abs() <= tolerance, "{i}: {red}");
    }
}

#[test]
fn shards_of_the_python_package_are_read() {
    let folder = fixtures();
    let shards = format!("{}/wds-{{000000..000001}}.tar", folder.display());
    let text = open(&format!("WebDataset(shards: [{shards:?}], size: 16)"));
    let found = seen(&*text);
    assert_eq!(found.len(), 10);
    assert_numbered(&found, |i| format!("picture number {i}, größer"), 0, 0.1);
    assert_eq!(text.caption(7), "picture number 7, größer");
    let json = open(&format!("WebDataset(shards: [{shards:?}], size: 16, caption: Json(\"caption\"))"));
    assert_numbered(&seen(&*json), |i| format!("json caption {i}"), 0, 0.1);
    // Several pictures a sample, told apart by all that follows the first dot.
    let two = folder.join("two.tar");
    for (side, first) in [("left.png", 0), ("right.png", 20)] {
        let data = open(&format!("WebDataset(shards: [{two:?}], size: 16, pictures: [{side:?}])"));
        let found = seen(&*data);
        assert_eq!(found.len(), 3);
        assert_numbered(&found, |i| format!("pair {i}"), first, 0.1);
    }
}

#[test]
fn a_shard_of_img2dataset_is_read() {
    let shards = fixtures().join("img2dataset/{00000..00000}.tar");
    for caption in ["Text", "Json(\"caption\")"] {
        let data = open(&format!("WebDataset(shards: [{shards:?}], size: 16, caption: {caption})"));
        let found = seen(&*data);
        assert_eq!(found.len(), 6);
        // JPEG changes a flat colour by a little.
        assert_numbered(&found, |i| format!("laid out {i}"), 0, 3.0);
    }
}

/// A flat picture that no other number has.
fn png(number: usize) -> Vec<u8> {
    let colour = [(number % 16 * 16) as u8, (number / 16 % 16 * 16) as u8, 128];
    encode_png(&RgbImage::from_pixel(8, 8, colour.into()), &[]).unwrap()
}

/// A shard of samples `numbers`, those in `damaged` with a picture that is none.
pub(crate) fn shard(numbers: impl Iterator<Item = usize>, damaged: &[usize]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: String, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    for i in numbers {
        let picture = if damaged.contains(&i) { b"no picture".to_vec() } else { png(i) };
        add(format!("{i:05}.png"), &picture);
        add(format!("{i:05}.txt"), format!("number {i}").as_bytes());
    }
    builder.into_inner().unwrap()
}

/// Three shards of 50, as `bucket/data/0.tar` and so on.
fn three_shards() -> Files {
    (0..3).map(|i| (format!("bucket/data/{i}.tar"), shard(50 * i..50 * i + 50, &[]))).collect()
}

/// Writes them as files below `folder`.
fn write(files: &Files, folder: &Path) {
    for (path, bytes) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn shards_at(place: &str) -> String {
    format!("WebDataset(shards: [\"{place}/bucket/data/{{0..2}}.tar\"], size: 8)")
}

/// An epoch of captions in order.
fn epoch(data: Box<dyn Dataset>, workers: usize) -> Vec<String> {
    let mut feed = Feed::new(Loader::new(Arc::from(data), 3, 10).unwrap(), workers);
    (0..15).flat_map(|step| feed.batch(step).unwrap().captions).collect()
}

#[test]
fn an_epoch_over_a_failing_store_has_each_sample_once_in_the_same_order() {
    let folder = tempfile::tempdir().unwrap();
    write(&three_shards(), folder.path());
    let expected = epoch(open(&shards_at(folder.path().to_str().unwrap())), 0);
    let distinct: BTreeSet<&String> = expected.iter().collect();
    assert_eq!((expected.len(), distinct.len()), (150, 150));
    for workers in [0, 1, 4] {
        let server = Loopback::serve(three_shards(), Faults { unavailable: 20, cut: 5 });
        let data = open(&shards_at(&server.url()));
        assert_eq!(data.len(), 150);
        assert_eq!(epoch(data, workers), expected, "{workers} workers");
        let [requests, failed, cut] =
            [&server.counts.requests, &server.counts.unavailable, &server.counts.cut]
                .map(|count| count.load(Ordering::Relaxed));
        // One request a sample, and a few for each shard.
        assert!((150..400).contains(&requests), "{requests}");
        assert!(failed * 100 >= 15 * requests && cut > 0, "{failed} and {cut} of {requests}");
    }
}

#[test]
fn a_store_that_is_down_or_changes_ends_the_epoch_with_its_name() {
    let server = Loopback::serve(three_shards(), Faults::default());
    let data = open(&shards_at(&server.url()));
    let changed = open(&format!("WebDataset(shards: [\"{}/bucket/data/0.tar\"], size: 8)", server.url()));
    let url = server.url();
    drop(server);
    drop(data);
    // Another server at another port would be another store: this one is gone.
    assert!(Loader::new(Arc::from(changed), 3, 10).unwrap().part(0..1).load(0).is_err_and(|error| {
        let said = error.to_string();
        said.contains(&url) && !said.contains("sample")
    }));
    let missing = source(&shards_at("/no/such/folder")).open(Split::Train).err().unwrap().to_string();
    assert!(missing.contains("/no/such/folder"), "{missing}");
}

/// A folder of pictures with captions beside them, as `bucket/pictures/…`.
fn pictures() -> Files {
    let named = |i: usize| format!("bucket/pictures/{}/{i:02}", i % 3);
    (0..20)
        .flat_map(|i| {
            let caption = format!("number {i}\n").into_bytes();
            [(format!("{}.png", named(i)), png(i)), (format!("{}.txt", named(i)), caption)]
        })
        .collect()
}

/// Trains a few steps on `data` with the real binary and gives the lines of its metrics.
fn trained(data: &str, out: &Path, environment: &[(&str, &str)]) -> String {
    let sets = [
        "model.backbone=Mini(channels: [16, 32], layers: 1, attending_levels: 1, heads: 2, detail: 4)",
        "batch=4",
        "preview.prompts=[]",
        "run.steps=4",
        "run.log_every=1",
        "objective.optimizer.cool_down=0",
    ];
    let data = format!("data={data}");
    let mut arguments = vec!["train", "configs/pretrain/emoji-teacher.ron", "--out", out.to_str().unwrap()];
    arguments.extend(sets.iter().chain([&&*data]).flat_map(|set| ["--set", *set]));
    let output = command(&arguments).envs(environment.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("secret"), "{said}");
    fs::read_to_string(out.join("metrics.jsonl")).unwrap()
}

#[test]
fn a_bucket_trains_as_a_folder_does() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let files: Files = three_shards().into_iter().chain(pictures()).collect();
    write(&files, folder.path());
    let server = Loopback::serve(files, Faults { unavailable: 20, cut: 0 });
    let url = server.url();
    let environment = [
        ("AWS_ENDPOINT_URL", &*url),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "nowhere-1"),
        ("AWS_ACCESS_KEY_ID", "reader"),
        ("AWS_SECRET_ACCESS_KEY", "a secret"),
    ];
    let local = folder.path().display();
    for (name, here, there) in [
        (
            "shards",
            format!("WebDataset(shards: [\"{local}/bucket/data/{{0..2}}.tar\"], size: 32)"),
            "WebDataset(shards: [\"s3://bucket/data/{0..2}.tar\"], size: 32)",
        ),
        (
            "pictures",
            format!("ImageFolder(path: \"{local}/bucket/pictures\", size: 32)"),
            "ImageFolder(path: \"s3://bucket/pictures\", size: 32)",
        ),
    ] {
        let here = trained(&here, &at(&format!("{name}-here")), &[]);
        let there = trained(there, &at(&format!("{name}-there")), &environment);
        assert_eq!((here.lines().count(), &here), (4, &there), "{name}");
    }
    assert!(server.counts.unavailable.load(Ordering::Relaxed) > 10);
}

#[test]
fn bad_samples_of_a_shard_are_counted_by_reason_and_end_the_run_above_one_percent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.tar");
    let recipe = format!("WebDataset(shards: [{path:?}], size: 8)");
    let feed = || Feed::new(Loader::new(Arc::from(open(&recipe)), 3, 10).unwrap(), 1);
    fs::write(&path, shard(0..100, &[17])).unwrap();
    let mut one = feed();
    for step in 0..10 {
        let batch = one.batch(step).unwrap();
        assert!(!batch.captions.contains(&"number 17".to_owned()));
    }
    let counted: Vec<_> =
        one.bad_samples().by_reason().map(|(reason, count)| (reason.to_owned(), count)).collect();
    assert!(
        counted.len() == 1 && counted[0].0.starts_with("cannot decode") && counted[0].1 == 1,
        "{counted:?}"
    );
    fs::write(&path, shard(0..100, &[17, 60])).unwrap();
    let mut two = feed();
    let error = (0..10).find_map(|step| two.batch(step).err()).unwrap().to_string();
    assert!(error.starts_with("2 of 100 samples cannot be used, more than 1%"), "{error}");
}
