//! PyTorch's files, whose pickles are programs: none is run, and none takes what it claims.

use super::{Hostile, text};
use crate::fuzz_pickles::{Member, archive, checkpoint, state, tensor};

/// An archive whose pickle is this one, deflated: megabytes in a few kilobytes.
fn packed(pickle: &[u8]) -> Vec<u8> {
    let storage = [0; 24];
    archive(&[
        Member { name: "archive/data.pkl", bytes: pickle, packed: true },
        Member { name: "archive/data/0", bytes: &storage, packed: false },
    ])
}

#[test]
fn no_pickle_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let one = |tensor: Vec<u8>| checkpoint(&state([("a", tensor)]));
    let large = 1 << 30;
    // Lists of lists of themselves: 2^40 items of few bytes.
    let laughs = [&b"\x80\x02]q\0"[..], &b"(h\0h\0lq\0".repeat(40), b"."].concat();
    // A list of a thousand numbers, a thousand times.
    let numbers = [&b"\x80\x02]q\0("[..], &b"K\x01".repeat(1000), b"e"].concat();
    let copies = [&numbers[..], b"](", &b"h\0".repeat(1000), b"e."].concat();
    for (name, bytes) in [
        ("empty.ckpt", Vec::new()),
        ("zip.bin", b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl".to_vec()),
        ("code.ckpt", b"cos\nsystem\n(S'touch trace'\ntR.".to_vec()),
        ("code-in-zip.ckpt", checkpoint(b"\x80\x02cos\nsystem\n(X\x0b\0\0\0touch tracetR.")),
        ("code-in-build.ckpt", checkpoint(b"\x80\x02cbuiltins\neval\n(X\x01\0\0\x001tR}b.")),
        ("deep.bin", vec![b'('; 100_000]),
        ("deep-in-zip.bin", checkpoint(&b"]".repeat(1 << 20))),
        (
            "nested.bin",
            checkpoint(&[&b"\x80\x02"[..], &b"]".repeat(100_000), &b"a".repeat(99_999), b"."].concat()),
        ),
        ("laughs.bin", checkpoint(&laughs)),
        ("long.pt", b"\x80\x02X\xff\xff\xff\x7f".to_vec()),
        ("long8.pt", b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec()),
        ("memo.pth", b"\x80\x02}q\x00h\x01.".to_vec()),
        ("huge.pth", one(tensor([large, large], [large, 1], 6))),
        ("repeated.pth", one(tensor([large], [0], 6))),
        ("negative.pth", one(tensor([-1, 3], [3, 1], 6))),
        ("backwards.pth", one(tensor([2, 3], [-3, -1], 6))),
        ("beyond.pth", one(tensor([2, 4], [4, 1], 6))),
        ("claimed.pth", one(tensor([large], [1], large))),
        ("copies.bin", checkpoint(&copies)),
        ("bomb.ckpt", packed(&[&b"\x80\x02"[..], &b"]".repeat(64 << 20), b"."].concat())),
        ("bomb-of-text.ckpt", packed(&[&b"\x80\x02X\0\0\0\x04"[..], &vec![b'x'; 64 << 20], b"."].concat())),
        ("bomb-beyond.ckpt", packed(&vec![b'0'; 101 << 20])),
    ] {
        let path = hostile.write(name, bytes);
        hostile.refuses(&["doctor", text(&path)], name);
    }
    for bytes in [b"\x80\x02}r\xff\xff\xff\xff.".to_vec(), checkpoint(&state([]))] {
        let path = hostile.write("none.pth", bytes);
        hostile.refuses(&["doctor", text(&path)], "expected tensors, found none");
    }
    hostile.check(24);
}
