//! The workspace: where it lies, and how cargo is called in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use cargo_metadata::Message;
use serde::de::DeserializeOwned;

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

/// The binary `add`, built with these `flags` of cargo.
pub(crate) fn built(flags: &[&str]) -> Result<PathBuf, String> {
    let arguments = ["build", "-p", "add-cli", "--bin", "add", "--message-format=json"];
    let built = clean_cargo().args(arguments).args(flags).stderr(Stdio::inherit()).output();
    let built = built.map_err(|error| format!("cargo cannot be started: {error}"))?;
    let messages = Message::parse_stream(&built.stdout[..]).flatten();
    let executables = messages.filter_map(|message| match message {
        Message::CompilerArtifact(artifact) => artifact.executable,
        _ => None,
    });
    let binary = executables.last().filter(|_| built.status.success()).ok_or("add was not built")?;
    Ok(binary.into())
}

/// Runs cargo and passes its output on.
pub(crate) fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    say!("cargo {}", arguments.join(" "));
    let status = clean_cargo().args(arguments).envs(environment.iter().copied()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("cargo {} failed", arguments.join(" "))),
        Err(error) => Err(format!("cargo cannot be started: {error}")),
    }
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// What the JSON of a file says.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    serde_json::from_str(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

/// The files of the workspace below `root` whose names end in `.extension`, sorted; without what a build has left.
pub(crate) fn sources_with(root: &Path, extension: &str) -> Vec<PathBuf> {
    files_with(["crates", "plugins", "xtask", "tests"].iter().map(|d| root.join(d)).collect(), extension)
}

/// The files with this extension in `folders` and below, sorted; build outputs are left out.
pub(crate) fn files_with(mut folders: Vec<PathBuf>, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
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
