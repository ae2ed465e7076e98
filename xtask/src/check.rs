//! What a change must pass before it is handed in: the one list of steps, which CI runs too.

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use cargo_metadata::MetadataCommand;

use crate::{
    tidy,
    workspace::{cargo, read, root, sources_with},
};

/// The GPU code is compiled with the rest, so that a machine without a GPU finds its mistakes; one set of features for
/// clippy and the documentation lets both share what is compiled of the dependencies.
const WITH_GPU: [&str; 2] = ["--features", "add-cli/cuda"];

/// The examples of the facade, which are run and not only compiled.
const EXAMPLES: [&str; 3] = ["sample", "train", "plugin"];

type Step = fn() -> Result<(), String>;

/// Steps by name, the quickest first.
const STEPS: [(&str, Step); 7] = [
    ("format", format),
    ("tidy", tidy::run),
    ("clippy", clippy),
    ("documentation", docs),
    ("packages", package),
    ("tests", tests),
    ("examples", examples),
];

/// Does every step, and tells how long each took, so that a slow run says where its time went.
pub(crate) fn run() -> Result<(), String> {
    let mut took = Vec::new();
    for (name, step) in STEPS {
        let began = Instant::now();
        step()?;
        took.push(format!("{name} {:.0} s", began.elapsed().as_secs_f64()));
    }
    say!("check: {}", took.join(", "));
    Ok(())
}

fn format() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(&["fmt", "--check", "--manifest-path", "tests/external/Cargo.toml"], &[])
}

fn examples() -> Result<(), String> {
    EXAMPLES.iter().try_for_each(|name| cargo(&["run", "--release", "-p", "add", "--example", name], &[]))
}

fn clippy() -> Result<(), String> {
    let all = ["clippy", "--release", "--workspace", "--all-targets"];
    cargo(&[&all, WITH_GPU.as_slice(), &["--", "-D", "warnings"]].concat(), &[])
}

/// The documentation, in which a broken link is an error.
pub(crate) fn docs() -> Result<(), String> {
    let all = ["doc", "--release", "--workspace", "--no-deps"];
    cargo(&[&all, WITH_GPU.as_slice()].concat(), &[("RUSTDOCFLAGS", "-D warnings")])
}

/// Packages every crate that may be published, all at once, so that each finds those that it depends on. They are not built
/// again from their packages: that would compile Burn once more.
pub(crate) fn package() -> Result<(), String> {
    let metadata = MetadataCommand::new().no_deps().exec().map_err(|e| e.to_string())?;
    let published = metadata.packages.iter().filter(|package| package.publish.is_none());
    let names: Vec<&str> = published.flat_map(|package| ["-p", package.name.as_str()]).collect();
    cargo(&[&["package", "--no-verify", "--allow-dirty", "--quiet"], names.as_slice()].concat(), &[])
}

/// The README's test command, and afterwards whether each stored snapshot was compared with something.
fn tests() -> Result<(), String> {
    let path = root().join("README.md");
    let readme = read(&path)?;
    let command = readme.lines().find_map(|line| line.strip_prefix("    cargo test "));
    let command = command.ok_or("README.md states no test command")?;
    let seen = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    let arguments: Vec<&str> = ["test"].into_iter().chain(command.split_whitespace()).collect();
    // insta appends the path of every snapshot that it compares; cargo-insta reads the same list.
    cargo(&arguments, &[("INSTA_SNAPSHOT_REFERENCES_FILE", &seen.path().to_string_lossy())])?;
    let seen = fs::read_to_string(seen.path()).map_err(|e| e.to_string())?;
    let seen = seen.lines().filter_map(|line| fs::canonicalize(line).ok()).collect();
    let unused = unreferenced(root(), &seen);
    if unused.is_empty() { Ok(()) } else { Err(unused.join("\n")) }
}

/// The stored snapshots below `root` that are not among those `seen`.
fn unreferenced(root: &Path, seen: &BTreeSet<std::path::PathBuf>) -> Vec<String> {
    let stored = sources_with(root, "snap").into_iter().filter(|path| !seen.contains(path));
    stored.map(|path| format!("{}: no test compares anything with this snapshot", path.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_no_test_compares_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let suite = fs::canonicalize(folder.path()).unwrap().join("tests/suite");
        fs::create_dir_all(&suite).unwrap();
        let [used, unused] = ["used.snap", "unused.snap"].map(|name| suite.join(name));
        for path in [&used, &unused] {
            fs::write(path, "").unwrap();
        }
        let found = unreferenced(&fs::canonicalize(folder.path()).unwrap(), &BTreeSet::from([used]));
        assert!(found.len() == 1 && found[0].contains("unused.snap"), "{found:?}");
    }
}
