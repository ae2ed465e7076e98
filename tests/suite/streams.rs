//! Standard streams that end early, are closed or are full: nothing panics, and only a result that is lost is a failure.

use std::{
    fs,
    io::Read as _,
    process::{Command, Output, Stdio},
};

use crate::{binary::binary, pictures::Runs, root};

/// Commands whose result goes to standard output.
const RESULTS: [&str; 12] = [
    "plugins",
    "config show configs/emoji.ron",
    "config show configs/add-xl.ron",
    "plan configs/emoji.ron",
    "devices",
    "train configs/emoji.ron --dry-run",
    "doctor configs/weights/emoji-student.safetensors",
    "completions zsh",
    "parity crates/add-parity/tests/fixtures/openclip",
    "--help",
    "help sample",
    "--version",
];

/// What became of `add` with these words by way of a shell, which redirects as `redirected` says.
fn shell(words: &str, redirected: &str) -> Output {
    let line = format!("{} {words} {redirected}", binary().display());
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(root()).env("NO_COLOR", "1").env("HF_HUB_OFFLINE", "1");
    command.output().unwrap()
}

#[track_caller]
fn ends(words: &str, redirected: &str, code: i32) -> String {
    let output = shell(words, redirected);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words} {redirected}: {said}");
    assert!(!said.contains("panicked"), "{words} {redirected}: {said}");
    said
}

/// As `| head -1`, and as a reader that was never there.
#[test]
fn a_reader_who_stops_early_is_no_failure() {
    for words in RESULTS {
        for read in [0, 1] {
            let mut command = Command::new(binary());
            command.args(words.split(' ')).current_dir(root()).env("HF_HUB_OFFLINE", "1");
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut out = child.stdout.take().unwrap();
            out.read_exact(&mut [0][..read]).unwrap();
            drop(out);
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{words}: {} {said}", output.status);
        }
    }
}

#[test]
fn a_closed_output_is_no_failure_and_a_full_one_is() {
    for words in RESULTS {
        assert_eq!(ends(words, ">&-", 0), "", "{words}");
        let said = ends(words, ">/dev/full", 1);
        assert!(said.contains("standard output: No space left"), "{words}: {said}");
    }
}

/// What is said on the way is for a person who may not be there; the work is done all the same.
#[test]
fn work_goes_on_without_anybody_who_listens() {
    let runs = Runs::new();
    for name in ["pics/a.png", "pics/b.png"] {
        runs.picture(name);
    }
    runs.trains("ImageFolder(path: \"pics\", size: 8)");
    let (recipe, folder) = (runs.path("recipe.ron"), runs.path("out"));
    for (i, redirected) in
        ["2>&-", "2>/dev/full", ">&-", ">/dev/full", "<&-", ">&- 2>&- <&-"].iter().enumerate()
    {
        let out = folder.join(i.to_string());
        // A prompt that is warned of.
        let sample = format!("sample configs/emoji.ron --prompt '(red:2)' --out {}/a", out.display());
        ends(&sample, redirected, 0);
        assert!(out.join("a/0000.png").exists(), "{redirected}");
        ends(&format!("train {} --out {}/run", recipe.display(), out.display()), redirected, 0);
        assert!(out.join("run/model.safetensors").exists(), "{redirected}");
        assert!(fs::read_to_string(out.join("run/log.txt")).unwrap().contains("finished"), "{redirected}");
    }
    // What is wrong is told by the exit code where nothing else can be.
    for redirected in ["2>&-", "2>/dev/full"] {
        ends("doctor no/such.safetensors", redirected, 1);
        ends("train configs/nowhere.ron", redirected, 2);
        ends("trian", redirected, 2);
    }
}
