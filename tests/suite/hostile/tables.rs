//! Lists in CSV and packed shards.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::{Hostile, text};

#[test]
fn no_table_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let folder = hostile.path("pictures");
    let recipe =
        hostile.tiny(&format!(r#"ImageFolder(path: {folder:?}, size: 8, captions: Csv("list.csv"))"#));
    for (bytes, reason) in [
        (&b""[..], "line 1: expected the field"),
        (b"\xFF\xFEf\0", "line 1: expected UTF-8, found UTF-16"),
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
    hostile.check(17);
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
