//! The binary that is given to others: the profile `dist`, and what the linker can do on top of it.

use std::fs;

use cargo_metadata::MetadataCommand;

use crate::cargo;

/// What Rust's own linker on x86-64 Linux (lld) is told: fold functions whose code is the same, and write relocations in
/// their short form.
const LINKER: &[&str] = if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
    &["-C", "link-arg=-Wl,--icf=all", "-C", "link-arg=-Wl,-z,pack-relative-relocs"]
} else {
    &[]
};

/// Builds `add` with `features` and says where it is and how large.
pub(crate) fn run(features: &str) -> Result<(), String> {
    let build = ["rustc", "--profile", "dist", "-p", "add-cli", "--bin", "add", "--features", features, "--"];
    cargo(&[&build, LINKER].concat(), &[])?;
    let metadata = MetadataCommand::new().no_deps().exec().map_err(|error| error.to_string())?;
    let path = metadata.target_directory.join("dist/add").into_std_path_buf();
    let size = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
    println!("{}: {size} bytes, {:.1} MiB", path.display(), size as f64 / f64::from(1 << 20));
    Ok(())
}
