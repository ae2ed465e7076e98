//! The release binary: the profile `dist`, and what compiler and linker can do on top of it; beside it what comes with it.

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

use cargo_metadata::{Metadata, MetadataCommand, Package};

use crate::workspace::cargo;

/// What Rust's own linker on x86-64 Linux (lld) is told: fold functions whose code is the same, and write relocations in
/// their short form.
const LINKER: &[&str] = if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
    &["-C", "link-arg=-Wl,--icf=all", "-C", "link-arg=-Wl,-z,pack-relative-relocs"]
} else {
    &[]
};

/// Completions that are packaged: the shell, and the file's name where the shell looks for it.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "add"), ("zsh", "_add"), ("fish", "add.fish")];

/// Builds `add` with `features`, says where it is and how large, and writes a folder to install from beside it: the binary,
/// manual pages and completions.
pub(crate) fn run(features: &str) -> Result<(), String> {
    let metadata = MetadataCommand::new().exec().map_err(|error| error.to_string())?;
    let build = ["rustc", "--profile", "dist", "-p", "add-cli", "--bin", "add"];
    // What is not asked for is left out, the default feature `wgpu` too: it is the smallest binary.
    let features = ["--no-default-features", "--features", features, "--"];
    cargo(
        &[&build, features.as_slice(), LINKER].concat(),
        &[("CARGO_ENCODED_RUSTFLAGS", &flags(&metadata))],
    )?;
    let path = metadata.target_directory.join("dist/add").into_std_path_buf();
    let size = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
    say!("{}: {size} bytes, {:.1} MiB", path.display(), size as f64 / f64::from(1 << 20));
    package(&path, &metadata.target_directory.join("dist/package").into_std_path_buf())
}

/// Writes the folder to install from, as `bin` and `share` below `/usr/local` are.
fn package(binary: &Path, folder: &Path) -> Result<(), String> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("{path}: {error}")
    };
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(failed(folder))?;
    }
    let said = |arguments: &[&str]| {
        let output = Command::new(binary).args(arguments).output().map_err(failed(binary))?;
        let problem = || format!("add {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(output.stdout.clone()) } else { Err(problem()) }
    };
    let write = |path: &Path, bytes: &[u8]| {
        fs::create_dir_all(path.parent().unwrap_or(folder))
            .and_then(|()| fs::write(path, bytes))
            .map_err(failed(path))
    };
    for (shell, name) in COMPLETIONS {
        let place = match shell {
            "bash" => "bash-completion/completions".to_owned(),
            "zsh" => "zsh/site-functions".to_owned(),
            _ => format!("{shell}/vendor_completions.d"),
        };
        write(&folder.join("share").join(place).join(name), &said(&["completions", shell])?)?;
    }
    let pages = folder.join("share/man/man1");
    said(&["man", &pages.to_string_lossy()])?;
    let installed = folder.join("bin/add");
    write(&installed, &[])?;
    fs::copy(binary, &installed).map_err(failed(&installed))?;
    say!("{}: to be copied to /usr/local or ~/.local", folder.display());
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
