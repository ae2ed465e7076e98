//! Captions and lists as people and programs write them, and prompts that are too long.

use std::{fs, io::Write as _, path::PathBuf};

use add_plugin::{Dataset, Draw};
use flate2::{Compression, write::GzEncoder};

use crate::{
    binary::command,
    pictures::Runs,
    root,
    stores::{open, shard},
};

const DRAW: Draw = Draw { seed: 1, step: 0, index: 0 };

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// Captions of all samples, with the red value of their pictures.
fn seen(data: &dyn Dataset) -> Vec<(String, u8)> {
    let each = (0..data.len()).map(|index| {
        let sample = data.get(index, &DRAW).unwrap();
        assert_eq!(sample.caption, data.caption(index));
        (sample.caption, ((sample.pixels[0] + 1.0) * 127.5).round() as u8)
    });
    each.collect()
}

#[test]
fn captions_beside_pictures_come_in_every_encoding() {
    let utf_16 =
        |text: &str, unit: fn(u16) -> [u8; 2]| -> Vec<u8> { text.encode_utf16().flat_map(unit).collect() };
    for (bytes, suffix, caption) in [
        ("\u{FEFF}größer\r\n".into(), "txt", "größer"),
        (utf_16("\u{FEFF}größer\r\n", u16::to_le_bytes), "txt", "größer"),
        (utf_16("\u{FEFF}größer", u16::to_be_bytes), "caption", "größer"),
        (utf_16("wider", u16::to_le_bytes), "TXT", "wider"),
        (b"\rone\rtwo".to_vec(), "txt", "one"),
        (b"a\xC2\xA0square \xF0\x9F\x8D\x8E".to_vec(), "caption", "a\u{a0}square 🍎"),
        ("x".repeat(100_000).into(), "txt", &"x".repeat(2000)),
    ] {
        let runs = Runs::new();
        runs.picture("pics/a.png");
        fs::remove_file(runs.path("pics/a.txt")).unwrap();
        runs.write(&format!("pics/a.{suffix}"), bytes);
        let data = open(&format!("ImageFolder(path: {:?}, size: 8)", runs.path("pics")));
        assert_eq!(data.caption(0), caption);
        assert!(data.get(0, &DRAW).is_ok());
    }
    let runs = Runs::new();
    runs.picture("pics/a.png");
    for (bytes, problem) in [
        (&b"\xEF\xBB\xBF"[..], "it has no caption"),
        (b"gr\xF6\xDFer", "not UTF-8"),
        (b"\xFF\xFEa", "UTF-16"),
    ] {
        runs.write("pics/a.txt", bytes);
        runs.refuses("ImageFolder(path: \"pics\", size: 8)", &[problem]);
    }
    fs::remove_file(runs.path("pics/a.txt")).unwrap();
    runs.refuses("ImageFolder(path: \"pics\", size: 8)", &["ends in .txt or .caption"]);
    runs.write("pics/a.tags", "by its own suffix");
    runs.trains("ImageFolder(path: \"pics\", size: 8, captions: Suffix(\"tags\"))");
}

#[test]
fn lists_of_hugging_face_and_others_are_read() {
    let runs = Runs::new();
    for i in 0..3 {
        runs.picture(&format!("pics/00{i}.png"));
    }
    let lines = |file: &str, caption: &str, start: &str| {
        let line =
            |i| format!("{{\"{file}\": \"{start}00{i}.png\", \"{caption}\": \"c{i}\", \"width\": NaN}}\n");
        [0, 1, 2].map(line).concat()
    };
    let csv = [0, 1, 2].map(|i| format!("00{i}.png,\"c{i}\",48\n")).concat();
    let fields = ", fields: (file: \"image\", caption: \"prompt\")";
    let whole = format!("{}/", runs.path("pics").display());
    for (list, text, captions, fields) in [
        ("own.jsonl", lines("file", "caption", ""), "Jsonl(\"own.jsonl\")", ""),
        ("mark.jsonl", format!("\u{FEFF}{}", lines("file", "caption", "./")), "Jsonl(\"mark.jsonl\")", ""),
        ("metadata.jsonl", lines("file_name", "text", ""), "Auto", ""),
        ("named.jsonl", lines("image", "prompt", ""), "Jsonl(\"named.jsonl\")", fields),
        ("metadata.csv", format!("\u{FEFF}file_name,text,width\n{csv}"), "Auto", ""),
        ("mine.csv", format!("image,prompt,width\n{csv}"), "Csv(\"mine.csv\")", fields),
        ("tabs.tsv", format!("file_name,text,width\n{csv}").replace(',', "\t"), "Csv(\"tabs.tsv\")", ""),
        // Put together from several, each with its mark.
        ("marks.jsonl", lines("file", "caption", "").replace('{', "\u{FEFF}{"), "Jsonl(\"marks.jsonl\")", ""),
        ("whole.jsonl", lines("file", "caption", &whole), "Jsonl(\"whole.jsonl\")", ""),
    ] {
        runs.write(&format!("pics/{list}"), text);
        let path = runs.path("pics");
        let data = open(&format!("ImageFolder(path: {path:?}, size: 8, captions: {captions}{fields})"));
        let found: Vec<String> = seen(&*data).into_iter().map(|(caption, _)| caption).collect();
        assert_eq!(found, ["c0", "c1", "c2"], "{list}");
        if list.starts_with("metadata") {
            let said = runs.trains("ImageFolder(path: \"pics\", size: 8)");
            assert!(said.contains("passed over"), "the captions beside are not used: {said}");
            fs::remove_file(runs.path("pics").join(list)).unwrap();
        }
    }
}

/// As Windows' shell writes them.
#[test]
fn lists_in_utf_16_are_read() {
    let runs = Runs::new();
    runs.picture("pics/a.png");
    let json = "{\"file\": \"a.png\", \"caption\": \"größer\"}\r\n";
    for (name, text) in [("list.jsonl", json), ("list.csv", "file,caption\r\na.png,größer\r\n")] {
        for unit in [u16::to_le_bytes, u16::to_be_bytes] {
            let bytes: Vec<u8> = format!("\u{FEFF}{text}").encode_utf16().flat_map(unit).collect();
            runs.write(&format!("pics/{name}"), bytes);
            let captions = if name.ends_with("csv") { "Csv" } else { "Jsonl" };
            let path = runs.path("pics");
            let data = open(&format!("ImageFolder(path: {path:?}, size: 8, captions: {captions}({name:?}))"));
            assert_eq!(seen(&*data)[0].0, "größer", "{name}");
        }
    }
}

#[test]
fn names_are_found_in_either_spelling() {
    let runs = Runs::new();
    runs.picture("pics/cafe\u{301}.png");
    runs.picture("pics/na\u{ef}ve.png");
    runs.write(
        "pics/list.jsonl",
        "{\"file\": \"caf\u{e9}.png\", \"caption\": \"a\"}\n{\"file\": \"nai\u{308}ve.png\", \"caption\": \"b\"}\n",
    );
    runs.trains("ImageFolder(path: \"pics\", size: 8, captions: Jsonl(\"list.jsonl\"))");
}

#[test]
fn parquet_files_hold_pictures_or_name_them() {
    let parquet =
        |name: &str, more: &str| open(&format!("Parquet(files: [{:?}], size: 8{more})", fixture(name)));
    let numbered = |caption: &dyn Fn(usize) -> String| -> Vec<(String, u8)> {
        (0..12).map(|i| (caption(i), 10 * i as u8)).collect()
    };
    let hf = parquet("parquet/hf.parquet", "");
    assert_eq!(seen(&*hf), numbered(&|i| format!("picture {i}, größer")));
    let i2d = parquet("parquet/img2dataset.parquet", ", picture: \"jpg\", caption: \"caption\"");
    assert_eq!(seen(&*i2d), numbered(&|i| format!("laid out {i}")));
    assert_eq!(seen(&*parquet("parquet/polars.parquet", "")), numbered(&|i| format!("polars {i}")));
    // Several files, one after the other.
    let folder = fixture("parquet");
    let both =
        open(&format!("Parquet(files: [\"{0}/{{hf,img2dataset}}.parquet\"], size: 8)", folder.display()));
    assert_eq!(
        (both.len(), &*both.caption(11), &*both.caption(12)),
        (24, "picture 11, größer", "laid out 0")
    );
    let lists = parquet("parquet/lists.parquet", "");
    assert_eq!((lists.len(), lists.caption(0)), (4, "one".to_owned()));
    let drawn: Vec<_> = (0..20).map(|index| lists.get(0, &Draw { index, ..DRAW }).unwrap().caption).collect();
    assert!(drawn.contains(&"uno".to_owned()));
    assert!(lists.get(3, &DRAW).unwrap_err().to_string().contains("it has no picture"));

    let runs = Runs::new();
    for i in 0..12 {
        runs.write(&format!("pics/{i}.png"), fs::read(fixture("pictures/rgb.bmp")).unwrap());
    }
    for name in ["metadata", "zstd"] {
        let list = fs::read(fixture(&format!("parquet/{name}.parquet"))).unwrap();
        runs.write("pics/metadata.parquet", list);
        let listed = open(&format!("ImageFolder(path: {:?}, size: 8)", runs.path("pics")));
        assert_eq!((listed.len(), listed.caption(11)), (12, "listed 11".to_owned()), "{name}");
        assert!(listed.get(3, &DRAW).unwrap_err().to_string().contains("it has no caption"), "{name}");
    }
    runs.write("pics/metadata.parquet", fs::read(fixture("parquet/lz4.parquet")).unwrap());
    let said = ["metadata.parquet", "packed with LZ4_RAW", "write it with Snappy, zstd, gzip"];
    runs.refuses("ImageFolder(path: \"pics\", size: 8)", &said);
    let none = format!("Parquet(files: [{:?}], size: 8)", fixture("parquet/metadata.parquet"));
    runs.refuses(&none, &["expected a column of pictures", "`file_name`"]);
}

#[test]
fn folders_of_kohyas_scripts_repeat_their_pictures() {
    let runs = Runs::new();
    for name in ["10_cat/a.png", "1_dog/b.png"] {
        runs.picture(&format!("pics/{name}"));
    }
    runs.refuses("ImageFolder(path: \"pics\", size: 8)", &["repeats", "10_cat", "repeats: Folders"]);
    let len = |repeats: &str| {
        open(&format!("ImageFolder(path: {:?}, size: 8, repeats: Some({repeats}))", runs.path("pics"))).len()
    };
    assert_eq!((len("Folders"), len("Once")), (11, 2));
    runs.trains("ImageFolder(path: \"pics\", size: 8, repeats: Folders)");
    // kohya's tools keep these folders in one of their own.
    for name in ["10_cat/a.png", "1_dog/b.png"] {
        runs.picture(&format!("project/img/{name}"));
    }
    runs.refuses("ImageFolder(path: \"project\", size: 8)", &["10_cat", "repeats: Folders"]);
    let project = runs.path("project");
    assert_eq!(open(&format!("ImageFolder(path: {project:?}, size: 8, repeats: Some(Folders))")).len(), 11);
}

#[test]
fn shards_come_packed_dotted_by_pattern_and_by_folder() {
    let runs = Runs::new();
    let tar = shard(0..3, &[]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&tar).unwrap();
    let packed = packed.finish().unwrap();
    runs.write("data/0.tar", &tar);
    runs.write("data/1.tar.gz", &packed);
    // Packed, whatever its name says.
    runs.write("data/2.tar", &packed);
    for (shards, len) in
        [("data/*.tar", 6), ("data", 9), ("data/1.tar.gz", 3), ("data/{0,2}.tar", 6), ("data/?.tar*", 9)]
    {
        let text = runs.path(shards);
        let data = open(&format!("WebDataset(shards: [{text:?}], size: 8)"));
        assert_eq!((data.len(), data.caption(len - 1)), (len, "number 2".to_owned()), "{shards}");
        assert!(data.get(len - 1, &DRAW).is_ok(), "{shards}");
        runs.trains(&format!("WebDataset(shards: [{shards:?}], size: 8)"));
    }
    runs.refuses(
        "WebDataset(shards: [\"none*.tar\"], size: 8)",
        &["files that match `none*.tar`, found none"],
    );
    runs.write("data/3.tar.zst", b"\x28\xB5\x2F\xFD....");
    runs.refuses("WebDataset(shards: [\"data/3.tar.zst\"], size: 8)", &["found zstd"]);
    runs.write("data/4.tar", [b"\x1F\x0B\x08\x1B[31m".as_slice(), &[b'x'; 600]].concat());
    runs.refuses("WebDataset(shards: [\"data/4.tar\"], size: 8)", &["expected the header of a tar file"]);
}

/// A shard of these members.
fn members(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn members_are_found_by_the_end_of_their_suffix() {
    let runs = Runs::new();
    let picture = fs::read(fixture("pictures/rgb.bmp")).unwrap();
    let json = br#"{"score": NaN, "caption": "from json"}"#;
    let named = [
        ("0.image.bmp", &picture[..]),
        ("0.caption.txt", b"dotted"),
        ("0.meta.json", json),
        ("._0.bmp", b"x"),
    ];
    runs.write("0.tar", members(&named));
    for (caption, expected) in
        [("Text", "dotted"), ("Member(\"caption.txt\")", "dotted"), ("Json(\"caption\")", "from json")]
    {
        let data =
            open(&format!("WebDataset(shards: [{:?}], size: 8, caption: {caption})", runs.path("0.tar")));
        assert_eq!(seen(&*data)[0].0, expected);
    }
    let said = runs.trains("WebDataset(shards: [\"0.tar\"], size: 8)");
    assert!(said.contains("1 hidden"), "{said}");
    // Two pictures of one key: which one is meant must be said.
    runs.write("1.tar", members(&[("v 1.0.bmp", &picture), ("v 1.0.txt", b"a"), ("v 1.5.bmp", &picture)]));
    runs.refuses(
        "WebDataset(shards: [\"1.tar\"], size: 8)",
        &["`v 1` has several pictures", "first dot", "pictures: ["],
    );
    let data =
        open(&format!("WebDataset(shards: [{:?}], size: 8, pictures: [\"5.bmp\"])", runs.path("1.tar")));
    assert_eq!(data.len(), 1);
}

#[test]
fn shards_are_read_whatever_their_members_are_called_or_refused_with_their_place() {
    let runs = Runs::new();
    let picture = fs::read(fixture("pictures/rgb.bmp")).unwrap();
    let long = format!("{}/{}/0", "d".repeat(90), "e".repeat(150));
    let [long_picture, long_text] = ["bmp", "txt"].map(|suffix| format!("{long}.{suffix}"));
    for (name, shard) in [
        ("upper", members(&[("0.BMP", &picture), ("0.TXT", b"a")])),
        ("long", members(&[(&long_picture, &picture), (&long_text, b"a")])),
        ("folders", members(&[("some/path/22.0/0.bmp", &picture), ("some/path/22.0/0.txt", b"a")])),
        ("classes", members(&[("0.cls", b"3"), ("0.bmp", &picture), ("0.txt", b"a")])),
    ] {
        runs.write(&format!("{name}.tar"), shard);
        let data = open(&format!("WebDataset(shards: [{:?}], size: 8)", runs.path(&format!("{name}.tar"))));
        assert_eq!((data.len(), data.caption(0)), (1, "a".to_owned()), "{name}");
        assert!(data.get(0, &DRAW).is_ok(), "{name}");
    }
    let apart = [("0.bmp", &picture[..]), ("1.bmp", &picture), ("0.txt", b"a"), ("1.txt", b"b")];
    runs.write("apart.tar", members(&apart));
    let whole = members(&[("0.bmp", &picture), ("0.txt", b"a"), ("1.bmp", &picture), ("1.txt", b"b")]);
    runs.write("cut.tar", &whole[..whole.len() / 2 - 700]);
    runs.write("null.tar", members(&[("0.bmp", &picture), ("0.json", br#"{"caption": null}"#)]));
    for (shards, more, words) in [
        ("apart.tar", "", ["apart.tar", "members of `0` to stand together"]),
        ("cut.tar", "", ["cut.tar", "at byte"]),
        ("null.tar", ", caption: Json(\"caption\")", ["null.tar", "it has no caption"]),
        ("{upper,none}.tar", "", ["none.tar", "there is no such file"]),
    ] {
        runs.refuses(&format!("WebDataset(shards: [{shards:?}], size: 8{more})"), &words);
    }
    runs.picture("pics/a.png");
    runs.write("pics/list.jsonl", "{\"file\": \"a.png\", \"caption\": null}\n");
    let list = "ImageFolder(path: \"pics\", size: 8, captions: Jsonl(\"list.jsonl\"))";
    runs.refuses(list, &["it has no caption"]);
}

#[test]
fn a_long_prompt_is_told_or_read_in_windows() {
    let folder = tempfile::tempdir().unwrap();
    let sample = |prompt: &str, name: &str, more: &[&str]| {
        let grid = folder.path().join(name);
        let arguments = [
            "sample",
            "configs/emoji.ron",
            "--steps",
            "1",
            "--prompt",
            prompt,
            "--grid",
            grid.to_str().unwrap(),
        ];
        let output = command(&[&arguments[..], more].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(output.status.success(), "{said}");
        let pixels = add_data::decode_rgb(&fs::read(grid).unwrap()).unwrap();
        // Below the row of the prompt, which is drawn into the grid too.
        (said, pixels)
    };
    let long = format!("a red apple{}", ", shiny glossy fruit".repeat(12));
    let (said, cut) = sample(&long, "cut.png", &[]);
    assert!(
        said.contains("--prompt: the text encoder takes 20 tokens") && said.contains("shiny glossy fruit"),
        "{said}"
    );
    assert!(said.contains("--long-prompt Chunks"), "{said}");
    let (said, whole) = sample(&long, "whole.png", &["--long-prompt", "Chunks", "--guidance", "2"]);
    assert!(!said.contains("left out"), "{said}");
    assert_ne!(cut, whole);
    let (_, by_recipe) =
        sample(&long, "recipe.png", &["--set", "sampling.long_prompt=Chunks", "--guidance", "2"]);
    assert_eq!(whole, by_recipe);
    // A prompt that fits is the same either way.
    let (said, short) = sample("a red apple", "short.png", &[]);
    assert!(!said.contains("left out"), "{said}");
    assert_eq!(short, sample("a red apple", "short-chunks.png", &["--long-prompt", "chunks"]).1);
    let (said, _) = sample("a red apple", "negative.png", &["--negative", &long]);
    assert!(said.contains("--negative: the text encoder"), "{said}");
}
