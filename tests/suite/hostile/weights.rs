//! Files of weights.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::Path,
    process::Command,
};

use super::{Hostile, emoji, text};
use crate::root;

impl Hostile {
    /// `add doctor` refuses what is at `path`.
    fn doctor(&mut self, path: &Path, reason: &str) {
        self.refuses(&["doctor", text(path)], reason);
    }

    /// `add doctor` refuses a file of these bytes.
    fn bytes(&mut self, bytes: impl AsRef<[u8]>, reason: &str) {
        let path = self.write("model.safetensors", bytes);
        self.doctor(&path, reason);
    }

    /// `add doctor` refuses a safetensors file with this header.
    fn header(&mut self, header: &str, data: usize, reason: &str) {
        self.bytes(safetensors(header, &vec![0; data]), reason);
    }

    /// `add doctor` refuses an index of shards with this text.
    fn index(&mut self, text: &str, reason: &str) {
        let path = self.write("model.safetensors.index.json", text);
        self.doctor(&path, reason);
    }

    /// `add sample` refuses the file for a student.
    fn student(&mut self, path: &Path, reason: &str) {
        let sample = ["sample", &emoji(), "--prompt", "a", "--weights", text(path), "--grid", "never.png"];
        self.refuses(&sample, reason);
    }
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A header of one tensor `x`.
fn of(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

/// One tensor's entry in a header.
fn entry(name: &str, offsets: &str) -> String {
    format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":{offsets}}}"#)
}

#[test]
fn no_file_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    for (bytes, reason) in [
        (&b""[..], "at least 8 bytes, found 0"),
        (b"\x00", "at least 8 bytes, found 1"),
        (&[0; 8], "EOF"),
        (b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl", "it is a file of PyTorch's"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "it is a web page"),
        (b"GGUF\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "it is a GGUF file"),
        (&[0xFF; 64], "header of at most 16777216 bytes"),
        (b"\x00\x01\x00\x00\x00\x00\x00\x00{}", "expected 256 bytes of header, found 2"),
    ] {
        hostile.bytes(bytes, reason);
    }

    // A header that takes 1.4 GB when it is believed.
    let path = hostile.path("large.safetensors");
    let mut file = File::create(&path).unwrap();
    file.write_all(&(99_u64 << 20).to_le_bytes()).unwrap();
    file.set_len(100 << 20).unwrap();
    hostile.doctor(&path, "header of at most 16777216 bytes, found 103809024");
    hostile.header(&" ".repeat(16 << 20), 0, "EOF");
    hostile.header("\u{FEFF}{}", 0, "header");
    hostile.bytes(safetensors_of_bytes(b"{\"\xFF\":1}"), "header");
    hostile.header("[]", 0, "map of tensor names");
    hostile.header(r#"{"x":"#, 0, "EOF");
    hostile.header(&format!(r#"{{"x":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000)), 0, "recursion");
    hostile.header(&format!("{{{},{}}}", entry("x", "[0,4]"), entry("x", "[4,8]")), 8, "`x` twice");
    hostile.header(&format!("{{{},{}}}", entry("x", "[0,4]"), entry("\\u0078", "[4,8]")), 8, "`x` twice");
    let many: Vec<String> = (0..=20_000).map(|i| entry(&i.to_string(), "[0,0]")).collect();
    hostile.header(&format!("{{{}}}", many.join(",")), 0, "at most 20000 tensors");
    hostile.header(r#"{"__metadata__":{"a":1}}"#, 0, "string");

    for (dtype, shape, offsets, data) in [
        ("F33", "[1]", "[0,4]", 4),
        ("F32", "[-1]", "[0,4]", 4),
        ("F32", "[1.5]", "[0,6]", 6),
        ("F32", "[9223372036854775808,2]", "[0,0]", 0),
        ("F32", "[2]", "[0,4]", 4),
        ("F32", "[1]", "[4,0]", 4),
        ("F32", "[1]", "[4,8]", 8),
        ("F32", "[1]", "[0,4]", 3),
        ("F32", "[1]", "[0,4]", 400),
        ("F32", "[1]", "[18446744073709551612,18446744073709551616]", 4),
    ] {
        hostile.header(&of(dtype, shape, offsets), data, "is not a usable safetensors file");
    }
    let overlap = format!("{{{},{}}}", entry("x", "[0,4]"), entry("y", "[0,4]"));
    hostile.header(&overlap, 4, "is not a usable safetensors file");
    let hole = format!("{{{},{}}}", entry("x", "[0,4]"), entry("y", "[8,12]"));
    hostile.header(&hole, 12, "is not a usable safetensors file");

    for (text, reason) in [
        (r#"{"weight_map":{"x":"../../etc/model.safetensors"}}"#, "beside it"),
        (r#"{"weight_map":{"x":"/etc/passwd"}}"#, "beside it"),
        (r#"{"weight_map":{"x":"gone.safetensors"}}"#, "gone.safetensors"),
        (r#"{"weight_map":{"x":"a.safetensors","x":"b.safetensors"}}"#, "`x` twice"),
        (r#"{"weight_map":[]}"#, "map of tensor names"),
    ] {
        hostile.index(text, reason);
    }
    hostile.doctor(Path::new("/dev/zero"), "found a pipe or device");
    let pipe = hostile.path("pipe.safetensors");
    if Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        hostile.doctor(&pipe, "found a pipe or device");
    }
    let round = hostile.path("round.safetensors");
    if cfg!(unix) && Command::new("ln").arg("-s").args([&round, &round]).status().is_ok() {
        hostile.doctor(&round, "symbolic links");
    }
    fs::create_dir(hostile.path("empty")).unwrap();
    hostile.doctor(&hostile.path("empty"), "expected model_index.json");
    fs::write(hostile.path("empty/model.ckpt"), b"\x80\x02").unwrap();
    hostile.doctor(&hostile.path("empty"), "expected model_index.json");
    hostile.doctor(&hostile.path("empty/model.ckpt"), "is no PyTorch file of tensors alone");
    hostile.check(40);
}

fn safetensors_of_bytes(header: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header].concat()
}

/// The student that is shipped, with one thing changed each time.
#[test]
fn a_students_file_is_used_only_when_it_is_whole() {
    let sound = fs::read(root().join("configs/weights/emoji-student.safetensors")).unwrap();
    let length = u64::from_le_bytes(*sound.first_chunk().unwrap()) as usize;
    let (text, data) = (std::str::from_utf8(&sound[8..8 + length]).unwrap(), &sound[8 + length..]);
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    let (name, first) = header.iter().find(|(name, _)| name.starts_with("denoiser.")).unwrap();

    let mut hostile = Hostile::new();
    for length in [0, 7, 100, 8 + length, sound.len() / 2, sound.len() - 1] {
        let path = hostile.write("cut.safetensors", &sound[..length]);
        hostile.student(&path, "cut.safetensors");
    }
    let path = hostile.write("long.safetensors", [&sound[..], &[0]].concat());
    hostile.student(&path, "long.safetensors");

    // The first and the last value, as the largest exponent: infinite, and not a number.
    for (at, bits) in [(0, 0x7C00_u16), (data.len() - 2, 0xFE01)] {
        let path = hostile.write("odd.safetensors", &sound);
        let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start((8 + length + at) as u64)).unwrap();
        file.write_all(&bits.to_le_bytes()).unwrap();
        hostile.student(&path, "expected a finite number");
    }

    let mut changed = |change: &dyn Fn(&mut BTreeMap<String, serde_json::Value>), reason: &str| {
        let mut header = header.clone();
        change(&mut header);
        let text = serde_json::to_string(&header).unwrap();
        let path = hostile.write("changed.safetensors", safetensors(&text, data));
        hostile.student(&path, reason);
    };
    changed(&|header| drop(header.remove("__metadata__")), "add.format");
    changed(
        &|header| header.get_mut("__metadata__").unwrap()["add.prediction"] = "Epsilon".into(),
        "Epsilon",
    );
    changed(&|header| header.get_mut("__metadata__").unwrap()["add.format"] = "2".into(), "add.format");
    changed(
        &|header| {
            let moved = header.remove(name).unwrap();
            header.insert("elsewhere".to_owned(), moved);
        },
        name,
    );
    changed(
        &|header| {
            let size: u64 = first["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).product();
            header.get_mut(name).unwrap()["shape"] = vec![size, 1, 1, 1, 1].into();
        },
        "found [",
    );
    changed(&|header| header.get_mut(name).unwrap()["dtype"] = "I16".into(), "expected F16");
    hostile.check(15);
}
