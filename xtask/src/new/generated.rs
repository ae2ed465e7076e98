//! What `new` writes, for every family: formatted, linted, compiled and tested in copies of the plugin crates.
//!
//! The copies are a workspace of their own in the target folder, with this one's dependencies, profile and lock file, so
//! that no dependency is compiled again. Clippy takes the compiler's place, as `cargo clippy` does it, but in the build
//! that tests anyway.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use cargo_metadata::MetadataCommand;

use super::{FAMILIES, Name, write};
use crate::workspace::{clean_cargo, root};

/// Sorts between other modules, and is long enough to make rustfmt break lines.
const NAME: &str = "generated-by-a-test";

#[test]
fn every_skeleton_is_formatted_and_passes_clippy_and_its_own_tests() {
    let target = target();
    let copy = target.join("skeletons");
    let plugins = copy.join("plugins");
    let _ = fs::remove_dir_all(&copy);
    copy_sources(&root().join("plugins"), &plugins).unwrap();
    let manifest = manifest();
    fs::write(copy.join("Cargo.toml"), manifest).unwrap();
    for file in ["Cargo.lock", "rustfmt.toml"] {
        fs::copy(root().join(file), copy.join(file)).unwrap();
    }
    // What CI changes of the profile, for a target folder that lies elsewhere.
    let quick = root().join(".cargo/quick.toml");
    if quick.exists() {
        fs::create_dir_all(copy.join(".cargo")).unwrap();
        fs::copy(quick, copy.join(".cargo/config.toml")).unwrap();
    }
    let name = Name::parse(NAME).unwrap();
    for family in FAMILIES {
        write(&plugins.join(family.folder), *family, &name).unwrap();
    }
    let packages: Vec<String> =
        packages(&plugins).into_iter().flat_map(|package| ["-p".to_owned(), package]).collect();
    succeeds(clean_cargo().args(["fmt", "--check"]).args(&packages), &copy, &target);

    let mut test = clean_cargo();
    test.args(["test", "--release", "--lib"]).args(&packages).arg("--").arg(&name.module);
    test.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver").env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    let said = succeeds(&mut test, &copy, &target);
    let passed = said.lines().filter(|line| line.ends_with(" ... ok") && line.contains(&name.module));
    // As many as the skeletons have.
    let tests: usize = FAMILIES.iter().map(|family| family.skeleton.matches("#[test]").count()).sum();
    assert_eq!(passed.count(), tests, "{said}");
}

/// The packages that got a plugin.
fn packages(plugins: &Path) -> BTreeSet<String> {
    let package = |folder: &str| {
        let manifest = fs::read_to_string(plugins.join(folder).join("Cargo.toml")).unwrap();
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = \""));
        name.and_then(|name| name.strip_suffix('"')).expect("a manifest states its name").to_owned()
    };
    FAMILIES.iter().map(|family| package(family.folder)).collect()
}

/// Runs `command` in `folder` and returns what it said.
fn succeeds(command: &mut Command, folder: &Path, target: &Path) -> String {
    let output = command.current_dir(folder).env("CARGO_TARGET_DIR", target).output().unwrap();
    let [out, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{command:?}\n{out}\n{error}");
    out.into_owned()
}

/// The workspace's target folder.
fn target() -> PathBuf {
    MetadataCommand::new().no_deps().exec().unwrap().target_directory.into_std_path_buf()
}

/// The manifest of the copies: the workspace's own, with the crates that are not copied where they are.
fn manifest() -> String {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let elsewhere = format!("path = \"{}/", root().display());
    let line = |line: &str| match line {
        _ if line.starts_with("members = ") => "members = [\"plugins/*\"]".to_owned(),
        _ if line.starts_with("exclude = ") => String::new(),
        _ if line.contains("path = \"plugins/") => line.to_owned(),
        // As the command line asks for them, so that nothing of ours is compiled again either.
        _ if line.starts_with("add-kernels = ") => {
            line.replace("path = \"", &elsewhere).replace(" }", ", features = [\"cube\"] }")
        }
        _ => line.replace("path = \"", &elsewhere),
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

/// Copies a folder of crates; what is no source (assets, fixtures) is linked.
fn copy_sources(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if !path.is_dir() {
            fs::copy(&path, &copy)?;
        } else if ["assets", "fixtures"].iter().any(|data| entry.file_name() == *data) {
            symlink(&path, &copy)?;
        } else {
            copy_sources(&path, &copy)?;
        }
    }
    Ok(())
}
