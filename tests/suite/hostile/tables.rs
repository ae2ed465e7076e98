//! Lists in CSV and Parquet, Parquet files of pictures, and packed shards.

use std::{fs, io::Write as _};

use flate2::{Compression, write::GzEncoder};

use super::{Hostile, text};
use crate::root;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(root().join("tests/fixtures/parquet").join(name)).unwrap()
}

#[test]
fn no_table_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let folder = hostile.path("pictures");
    let recipe =
        hostile.tiny(&format!(r#"ImageFolder(path: {folder:?}, size: 8, captions: Csv("list.csv"))"#));
    for (bytes, reason) in [
        (&b""[..], "line 1: expected the field"),
        (b"\xFF\xFEf\0", "line 1: expected the field"),
        (b"\xFF\xFEf\0\0\xD8", "line 1: expected UTF-8 text, found damaged UTF-16"),
        (b"a,b\n1,2\n", "line 1: expected the field `file` or `file_name`"),
        (b"file,width\na.png,2\n", "expected a caption in the field"),
        (b"file,file_name,text\na.png,b.png,c\n", "line 1: expected the field"),
        (b"file,text\n../a.png,a\n", "line 2: `../a.png` is no path inside the folder"),
        (b"file,text\n/etc/passwd,a\n", "line 2"),
        (b"file,text\na.png,a,b\n", "line 2: expected 2 columns, found 3"),
        (b"file,text\na.png,\xC3\x28\n", "line 2: not UTF-8"),
        (b"file,text\na.png,\n", "no caption"),
        (b"file,text\na.png,\"a\n\n\n", "no such file"),
        (b"file,text\n", "no samples"),
        (b"file,text,split\na.png,a,all\n", "line 2: split: unknown variant"),
        (b"file,text\n\x1B[31m.png,a\0b\n", "no such file"),
    ] {
        hostile.write("pictures/list.csv", bytes);
        hostile.refuses(&["train", text(&recipe), "--out", "run"], reason);
    }
    for (head, reason) in
        [("file,text\na.png,\"", "longer than"), ("file,text", "longer than"), ("", "longer than")]
    {
        hostile.write_long("pictures/list.csv", head, b'x', 100);
        hostile.refuses(&["train", text(&recipe), "--out", "run"], reason);
    }
    hostile.write_long("pictures/list.csv", b"\xFF\xFE", b'x', 100);
    hostile.refuses(&["train", text(&recipe), "--out", "run"], "bytes of UTF-16");
    hostile.check(19);
}

#[test]
fn no_parquet_file_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let folder = hostile.path("pictures");
    let list =
        hostile.tiny(&format!(r#"ImageFolder(path: {folder:?}, size: 8, captions: Parquet("a.parquet"))"#));
    let list = text(&list).to_owned();
    fs::rename(&list, list.replace("tiny", "list")).unwrap();
    let list = list.replace("tiny", "list");
    let pictures = hostile.tiny(&format!("Parquet(files: [\"{}/a.parquet\"], size: 8)", folder.display()));
    let (sound, names) = (fixture("hf.parquet"), fixture("metadata.parquet"));
    let footer = |length: u32| [&b"PAR1"[..], &[0; 40], &length.to_le_bytes(), b"PAR1"].concat();
    let mut flipped = sound.clone();
    let end = flipped.len() - 200;
    flipped[end..end + 100].fill(0xFF);
    // Pages that are not what the description says.
    let mut hollow = sound.clone();
    hollow[4..sound.len() / 2].fill(0);
    for (bytes, reason) in [
        (Vec::new(), "no sound Parquet file"),
        (b"PAR1".to_vec(), "no sound Parquet file"),
        (b"PAR1PAR1".to_vec(), "no sound Parquet file"),
        (footer(0), "no sound Parquet file"),
        (footer(40), "no sound Parquet file"),
        (footer(u32::MAX), "no sound Parquet file"),
        (footer(i32::MAX as u32), "no sound Parquet file"),
        (sound[..sound.len() / 2].to_vec(), "no sound Parquet file"),
        (sound[sound.len() / 2..].to_vec(), "a.parquet"),
        (flipped, "a.parquet"),
        (hollow, "a.parquet"),
    ] {
        hostile.write("pictures/a.parquet", bytes);
        for recipe in [&*list, text(&pictures)] {
            // The list is refused for its columns where the pictures are for their pages.
            hostile
                .refuses(&["train", recipe, "--out", "run"], if reason == "a.parquet" { "" } else { reason });
        }
    }
    // A few kilobytes that unpack into 80 MiB, packed in two ways.
    for name in ["bomb-gzip.parquet", "bomb-zstd.parquet"] {
        hostile.write("pictures/a.parquet", fixture(name));
        hostile.refuses(&["train", text(&pictures), "--out", "run"], "unpacks into more than 16777216");
    }
    hostile.write("pictures/a.parquet", names);
    hostile.refuses(&["train", text(&pictures), "--out", "run"], "expected a column of pictures");
    hostile.check(25);
}

#[test]
fn no_packed_shard_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let shard = hostile.path("a.tar.gz");
    let recipe = hostile.tiny(&format!("WebDataset(shards: [{shard:?}], size: 8)"));
    let packed = |mebibytes: usize| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        (0..mebibytes).for_each(|_| encoder.write_all(&vec![0; 1 << 20]).unwrap());
        encoder.finish().unwrap()
    };
    let bomb = packed(300);
    for (bytes, reason) in [
        (bomb.clone(), "expected at most 67108864 bytes packed as gzip"),
        (packed(60), "found none among 0 samples"),
        (bomb[..1000].to_vec(), "expected a tar file packed as gzip"),
        (b"\x1F\x8B".to_vec(), "expected a tar file packed as gzip"),
        (b"\x1F\x8B\x08\x1B[31m\x07".repeat(100), "expected a tar file packed as gzip"),
        (b"BZh91AY".to_vec(), "found bzip2"),
    ] {
        hostile.write("a.tar.gz", bytes);
        hostile.refuses(&["train", text(&recipe), "--out", "run"], reason);
    }
    hostile.check(6);
}
