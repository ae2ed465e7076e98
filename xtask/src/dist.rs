//! The release binary: the profile `dist`, and what compiler and linker can do on top of it.

use std::{collections::BTreeSet, env, fs};

use cargo_metadata::{Metadata, MetadataCommand, Package};

use crate::workspace::cargo;

/// What Rust's own linker on x86-64 Linux (lld) is told: fold functions whose code is the same, and write relocations in
/// their short form.
const LINKER: &[&str] = if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
    &["-C", "link-arg=-Wl,--icf=all", "-C", "link-arg=-Wl,-z,pack-relative-relocs"]
} else {
    &[]
};

/// Builds `add` with `features` and says where it is and how large.
pub(crate) fn run(features: &str) -> Result<(), String> {
    let metadata = MetadataCommand::new().exec().map_err(|error| error.to_string())?;
    let build = ["rustc", "--profile", "dist", "-p", "add-cli", "--bin", "add", "--features", features, "--"];
    cargo(&[&build, LINKER].concat(), &[("CARGO_ENCODED_RUSTFLAGS", &flags(&metadata))])?;
    let path = metadata.target_directory.join("dist/add").into_std_path_buf();
    let size = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
    println!("{}: {size} bytes, {:.1} MiB", path.display(), size as f64 / f64::from(1 << 20));
    Ok(())
}

/// What the compiler is told of every crate, beside the caller's `RUSTFLAGS`: to leave out the second backend for the
/// processor, and to name sources as `burn-0.22.1/src/lib.rs`, wherever this machine keeps them.
fn flags(metadata: &Metadata) -> String {
    let folder = |package: &Package| Some(package.manifest_path.parent()?.parent()?.to_owned());
    let fetched = metadata.packages.iter().filter(|package| package.source.is_some());
    let folders: BTreeSet<_> = fetched.filter_map(folder).collect();
    let given = env::var("RUSTFLAGS").unwrap_or_default();
    let given = given.split_whitespace().map(str::to_owned);
    let own = folders.iter().map(|folder| format!("--remap-path-prefix={folder}="));
    given.chain(["--cfg=without_ndarray".to_owned()]).chain(own).collect::<Vec<_>>().join("\x1f")
}
