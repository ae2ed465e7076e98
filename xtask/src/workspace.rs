//! The workspace: where it lies, and how cargo is called in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Its root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Cargo without what `cargo run` has told this process about its own package: build scripts that watch those variables
/// (ring's does) would run again, and all that stands on them be compiled anew, at every change between the two.
pub(crate) fn clean_cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if told.iter().any(|begins| name.to_string_lossy().starts_with(begins)) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs cargo and passes its output on.
pub(crate) fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    println!("cargo {}", arguments.join(" "));
    let status = clean_cargo().args(arguments).envs(environment.iter().copied()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("cargo {} failed", arguments.join(" "))),
        Err(error) => Err(format!("cargo cannot be started: {error}")),
    }
}

/// The files of the workspace below `root` whose names end in `.extension`, sorted; without what a build has left.
pub(crate) fn sources_with(root: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["crates", "plugins", "xtask", "tests"].iter().map(|d| root.join(d)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && entry.file_name() != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
