//! As `fuzz`, for PyTorch's files; and how such a file is put together, for tests that make hostile ones.

use std::{io::Write as _, path::Path};

use add_weights::WeightsFile;
use flate2::{Compression, Crc, write::DeflateEncoder};

use crate::fuzz::{at, shipped, survives};

/// Opens what is at `path`, and reads all that it claims to hold.
fn read_whole(path: &Path) {
    if let Ok(file) = WeightsFile::open(path) {
        for name in file.tensors().keys() {
            let _ = (file.floats::<f32>(name), file.integers(name));
        }
    }
}

#[test]
fn files_of_pytorch_survive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pth");
    for name in ["tensors.pth", "tensors_legacy.pth"] {
        survives(shipped(&format!("crates/add-weights/tests/fixtures/{name}")), 1000, |bytes| {
            at(&path, bytes);
            read_whole(&path);
        });
    }
}

/// The pickle inside of a sound archive, whose checksums would catch the damage otherwise.
#[test]
fn pickles_survive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ckpt");
    let sound = state([("conv.weight", tensor([2, 3], [3, 1], 6)), ("bias", tensor([6, 1], [1, 1], 6))]);
    at(&path, &checkpoint(&sound));
    assert_eq!(WeightsFile::open(&path).unwrap().tensors().len(), 2);
    survives(sound, 2000, |bytes| {
        at(&path, &checkpoint(bytes));
        read_whole(&path);
    });
}

/// A dictionary of pickled tensors.
pub(crate) fn state<'a>(tensors: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Vec<u8> {
    let mut pickle = b"\x80\x02}(".to_vec();
    for (name, tensor) in tensors {
        pickle.extend(text(name));
        pickle.extend(tensor);
    }
    [&pickle[..], b"u."].concat()
}

/// `torch._utils._rebuild_tensor_v2` of a storage of so many floats, as PyTorch pickles it.
pub(crate) fn tensor<const D: usize>(shape: [i32; D], strides: [i32; D], stored: i32) -> Vec<u8> {
    let storage =
        [&b"("[..], &text("storage"), b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), &int(stored)];
    let sizes = |sizes: [i32; D]| [&b"("[..], &sizes.map(int).concat(), b"t"].concat();
    [
        &b"ctorch._utils\n_rebuild_tensor_v2\n("[..],
        &storage.concat(),
        b"tQ",
        &int(0),
        &sizes(shape),
        &sizes(strides),
        b"\x89ccollections\nOrderedDict\n)RtR",
    ]
    .concat()
}

fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn int(value: i32) -> Vec<u8> {
    [&b"J"[..], &value.to_le_bytes()].concat()
}

/// A file of PyTorch: this pickle with a storage of six floats.
pub(crate) fn checkpoint(pickle: &[u8]) -> Vec<u8> {
    let six: Vec<u8> = (0..6_u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    archive(&[
        Member { name: "archive/data.pkl", bytes: pickle, packed: false },
        Member { name: "archive/byteorder", bytes: b"little", packed: false },
        Member { name: "archive/data/0", bytes: &six, packed: false },
        Member { name: "archive/version", bytes: b"3\n", packed: false },
    ])
}

/// A file in an archive.
pub(crate) struct Member<'a> {
    pub(crate) name: &'a str,
    pub(crate) bytes: &'a [u8],
    /// Whether it is deflated; PyTorch stores its files as they are.
    pub(crate) packed: bool,
}

/// A zip archive (PKWARE's APPNOTE 4.3).
pub(crate) fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let (mut files, mut directory) = (Vec::new(), Vec::new());
    for Member { name, bytes, packed } in members {
        let mut sum = Crc::new();
        sum.update(bytes);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        let (method, data) = if *packed { (8_u16, encoder.finish().unwrap()) } else { (0, bytes.to_vec()) };
        let what = [
            &[20_u8, 0, 0, 0][..],
            &method.to_le_bytes(),
            &[0; 4],
            &sum.sum().to_le_bytes(),
            &(data.len() as u32).to_le_bytes(),
            &(bytes.len() as u32).to_le_bytes(),
            &(name.len() as u16).to_le_bytes(),
            &[0, 0],
        ]
        .concat();
        let place = (files.len() as u32).to_le_bytes();
        directory.extend([&b"PK\x01\x02\x14\0"[..], &what, &[0; 10], &place, name.as_bytes()].concat());
        files.extend([&b"PK\x03\x04"[..], &what, name.as_bytes(), &data].concat());
    }
    let count = (members.len() as u16).to_le_bytes();
    let (length, place) = ((directory.len() as u32).to_le_bytes(), (files.len() as u32).to_le_bytes());
    let end = [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &length, &place, &[0, 0]].concat();
    [files, directory, end].concat()
}
