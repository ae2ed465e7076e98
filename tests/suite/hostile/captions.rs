//! Captions: beside pictures, in lists, and on the command line.

use super::{Hostile, emoji, text};

/// Just below what the system takes for one argument.
const LONG: usize = 120_000;

#[test]
fn no_list_of_captions_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let folder = hostile.path("pictures");
    let recipe =
        hostile.tiny(&format!(r#"ImageFolder(path: {folder:?}, size: 8, captions: Jsonl("list.jsonl"))"#));
    hostile.write("outside.png", "no picture");
    let line = |file: &str, caption: &str| format!(r#"{{"file":{file},"caption":{caption}}}"#).into_bytes();
    let deep =
        |depth: usize| format!(r#"{{"file":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth)).into_bytes();
    for (bytes, reason) in [
        (Vec::new(), "no samples"),
        (b"\xFF\xFE{\x00".to_vec(), "line 1: EOF"),
        (b"\xFF\xFE{".to_vec(), "line 1: expected UTF-8 text, found damaged UTF-16"),
        (line("\"a.png\"", "\"\u{7f}\"").into_iter().chain(*b"\n\xC3\x28\n").collect(), "line 2: not UTF-8"),
        (line("\"../outside.png\"", "\"a\""), "line 1: `../outside.png` is no path inside the folder"),
        (line("\"/etc/passwd\"", "\"a\""), "line 1"),
        (line("\"b/../../outside.png\"", "\"a\""), "line 1"),
        (line("\"\"", "\"a\""), "line 1"),
        (line("\"a\\u0000.png\"", "\"a\""), "cannot be used"),
        (line("\"a.png\"", "\"\\uD800\""), "line 1"),
        (line("\"a.png\"", "\"\\q\""), "line 1"),
        (line("\"a.png\"", "7"), "line 1"),
        (line("\"a.png\"", "\"\""), "no caption"),
        (line("\"a.png\"", &format!("{:?}", "y".repeat(100_000))), "no such file"),
        (deep(100), "line 1"),
        (deep(100_000), "line 1"),
        (b"[]".to_vec(), "line 1"),
        (b"null".to_vec(), "line 1"),
        (br#"{"file":"a.png","file":"b.png","caption":"a"}"#.to_vec(), "duplicate field"),
        (br#"{"file":"a.png","caption":"a","split":"all"}"#.to_vec(), "unknown variant"),
        (br#"{"file":"a.png","caption":"a","weight":1e999}"#.to_vec(), "line 1"),
    ] {
        hostile.write("pictures/list.jsonl", bytes);
        hostile.refuses(&["train", text(&recipe), "--out", "run"], reason);
    }
    for (head, byte, reason) in [
        (r#"{"file":"a.png","caption":""#, b'x', "line 1: longer than"),
        ("", b'x', "line 1: longer than"),
        ("\n", b'\n', "no samples"),
    ] {
        let mebibytes = if byte == b'\n' { 20 } else { 100 };
        hostile.write_long("pictures/list.jsonl", head, byte, mebibytes);
        hostile.refuses(&["train", text(&recipe), "--out", "run"], reason);
    }
    hostile.write_long("pictures/list.jsonl", b"\xFF\xFE", b'x', 100);
    hostile.refuses(&["train", text(&recipe), "--out", "run"], "bytes of UTF-16");
    hostile.check(24);
}

#[test]
fn no_caption_beside_a_picture_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let folder = hostile.path("pictures");
    let recipe = hostile.tiny(&format!("ImageFolder(path: {folder:?}, size: 8)"));
    hostile.write("pictures/a.png", "no picture");
    for (bytes, reason) in [
        (Vec::new(), "no caption"),
        (b" \n\t\n".to_vec(), "no caption"),
        (b"a \xFF".to_vec(), "UTF-8"),
        (vec![b'x'; 1 << 20], "cannot decode"),
        (b"a\0b\0".repeat(1000), "cannot decode"),
        (b"\xFF\xFE\0\xD8".to_vec(), "UTF-16"),
    ] {
        hostile.write("pictures/a.txt", bytes);
        hostile.refuses(&["train", text(&recipe), "--out", "run"], reason);
    }
    hostile.write_long("pictures/a.txt", "a", b'x', 100);
    hostile.refuses(&["train", text(&recipe), "--out", "run"], "more than 1048576 bytes");
    hostile.check(5);
}

#[test]
fn no_argument_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let recipe = emoji();
    let long = "x".repeat(LONG);
    let sample = ["sample", recipe.as_str(), "--grid", "never.png"];
    for (arguments, reason) in [
        (&["--prompt", long.as_str()][..], "--prompt: expected at most 2000 characters, got 120000"),
        (&["--prompt", "a", "--negative", &long], "--negative: expected at most 2000 characters"),
        (&["--prompt", "a", "--steps", "1000000000000000000"], "--steps: expected 1 to 1000"),
        (&["--prompt", "a", "--steps=-1"], "--steps"),
        (&["--prompt", "a", "--count", "4000000000000000000"], "--count: expected at most 65536"),
        (&["--prompt", "a", "--count", "0"], "pictures, got 0"),
        (&["--prompt", "a", "--guidance", "NaN"], "--guidance: expected a number from 0 to 100"),
        (&["--prompt", "a", "--guidance", "inf"], "--guidance"),
        (&["--prompt", "a", "--seed", "18446744073709551616"], "--seed"),
        (&["--prompt", "a", "--init", "/dev/zero", "--steps", "2"], "found a pipe or device"),
        (&["--prompt", "a", "--init", ".", "--steps", "2"], "found a folder"),
        (&["--prompt", "a", "--init", "a.png", "--strength", "NaN"], "--strength"),
        (&["--prompt", "a", "--weights", ""], "expected a path"),
        (&["--prompt", "a", "--weights", "hf://../.."], "expected letters"),
        (&["--prompt", "a", "--weights", &long], "xxx"),
    ] {
        hostile.refuses(&[&sample[..], arguments].concat(), reason);
    }
    hostile.check(15);
}

#[test]
fn odd_characters_of_a_caption_are_read_as_text() {
    let mut hostile = Hostile::new();
    let recipe = emoji();
    let grid = hostile.run_folder().join("a.png");
    // Control characters, combining ones in heaps, halves of directions, the end of a text in the middle of one.
    let odd = [
        "\u{1}\u{7f}\u{85}\u{2028}",
        &"a\u{300}".repeat(999),
        "\u{202e}\u{200d}\u{feff}",
        "<|endoftext|>",
        "",
    ];
    for prompt in odd {
        let sample = ["sample", &recipe, "--prompt", prompt, "--steps", "1", "--overwrite", "--out"];
        hostile.bears(&[&sample[..], &[text(&grid)]].concat());
    }
    hostile.check(5);
}
