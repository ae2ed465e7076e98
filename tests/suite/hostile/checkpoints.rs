//! Checkpoints: what a run is to go on from.

use std::{fs, path::Path, process::Command};

use sha2::{Digest, Sha256};

use super::{Hostile, text};
use crate::golden;

/// A manifest that names `files`, with a seal that fits it.
fn sealed(folder: &Path, manifest: &str) {
    fs::write(folder.join("manifest.json"), manifest).unwrap();
    fs::write(folder.join("manifest.sha256"), format!("{:x}", Sha256::digest(manifest))).unwrap();
}

#[test]
fn no_checkpoint_is_too_odd_to_be_refused() {
    let mut hostile = Hostile::new();
    let sound = fs::read_to_string(golden::checkpoint().join("manifest.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&sound).unwrap();
    let hash = value["files"]["ema.safetensors"].as_str().unwrap().to_owned();
    let files = |entries: &str| {
        let (head, tail) = (sound.find("\"files\"").unwrap(), sound.rfind('}').unwrap());
        format!("{}\"files\": {{{entries}}}{}", &sound[..head], &sound[tail..])
    };
    let many = |n: usize| {
        let entries: Vec<String> = (0..n).map(|i| format!("\"{i}.safetensors\": \"{hash}\"")).collect();
        files(&entries.join(","))
    };
    let entry = |name: &str| files(&format!("{name:?}: {hash:?}"));
    let folder = hostile.path("step");
    for (manifest, reason) in [
        (String::new(), "EOF"),
        ("[]".to_owned(), "expected schema"),
        ("null".to_owned(), "expected schema"),
        ("\u{0}".repeat(1000), "manifest.json"),
        ("[".repeat(1_000_000), "recursion"),
        (" ".repeat(17 << 20), "at most 16777216 bytes"),
        (sound.replace("\"schema\": ", "\"schema\": 1"), "another version"),
        (sound.replace("\"schema\": ", "\"schema\": -"), "another version"),
        (sound.replace("\"step\": ", "\"step\": -"), "manifest.json"),
        (sound.replace("\"step\"", "\"stop\""), "manifest.json"),
        (sound.replace("\"recipe\": \"", "\"recipe\": \"0"), "another recipe"),
        (entry("../../outside.safetensors"), "is no file of a checkpoint"),
        (entry("/etc/passwd.safetensors"), "is no file of a checkpoint"),
        (entry("..\\outside.safetensors"), "is no file of a checkpoint"),
        (entry("student.pickle"), "is no file of a checkpoint"),
        (entry("gone.safetensors"), "gone.safetensors"),
        (entry("pipe.safetensors"), "found a pipe or device"),
        (entry("endless.safetensors"), "found a pipe or device"),
        (entry("folder.safetensors"), "found a folder"),
        (files(""), "does not fit this recipe"),
        (files(&format!("\"ema.safetensors\": \"{hash}\"")), "does not fit this recipe"),
        (files("\"ema.safetensors\": \"\""), "expected SHA-256 , found"),
        (files("\"ema.safetensors\": 7"), "manifest.json"),
        (many(100_000), "safetensors"),
        (many(1_000_000), "at most 16777216 bytes"),
    ] {
        let _ = fs::remove_dir_all(&folder);
        golden::copy(&golden::checkpoint(), &folder);
        sealed(&folder, &manifest);
        let made = Command::new("mkfifo").arg(folder.join("pipe.safetensors")).status();
        std::os::unix::fs::symlink("/dev/zero", folder.join("endless.safetensors")).unwrap();
        fs::create_dir(folder.join("folder.safetensors")).unwrap();
        if reason.contains("pipe") && !made.is_ok_and(|status| status.success()) {
            continue;
        }
        hostile.refuses(&resume(&golden::recipe(), &folder), reason);
    }
    for (seal, reason) in
        [(&b""[..], "was changed"), (&[0xFF; 64], "was changed"), (&[b'0'; 65], "at most 64")]
    {
        let _ = fs::remove_dir_all(&folder);
        golden::copy(&golden::checkpoint(), &folder);
        fs::write(folder.join("manifest.sha256"), seal).unwrap();
        hostile.refuses(&resume(&golden::recipe(), &folder), reason);
    }
    hostile
        .refuses(&["train", &golden::recipe(), "--out", "run", "--resume", "/dev/zero"], "Not a directory");
    hostile.check(25);
}

fn resume<'a>(recipe: &'a str, folder: &'a Path) -> [&'a str; 6] {
    ["train", recipe, "--out", "run", "--resume", text(folder)]
}
