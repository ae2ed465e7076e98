//! Licences and sources of everything that is built, by the rules of `deny.toml`.
//!
//! `cargo deny check` says the same and more, but takes minutes to install; this needs nothing beside cargo.

use std::{path::Path, process::Command};

use cargo_metadata::{MetadataCommand, Package};
use spdx::{Expression, Licensee, ParseMode};

use crate::workspace::read;

/// The one registry.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Packages that state no licence in a field, with what their licence file is.
const BY_FILE: [(&str, &str); 1] = [("cfg_block", "Apache-2.0")];

/// Packages that come from elsewhere or under terms that are not allowed.
pub(crate) fn breaches(root: &Path) -> Result<Vec<String>, String> {
    let rules = root.join("deny.toml");
    let text = read(&rules)?;
    let allowed = allowed(&text)?;
    // What other systems would build is in Cargo.lock too, and never here.
    let options = ["--locked", "--filter-platform", &host()?].map(str::to_owned);
    let metadata = MetadataCommand::new().other_options(options).exec();
    let packages = metadata.map_err(|e| e.to_string())?.packages;
    Ok(packages.iter().filter_map(|package| breach(package, &allowed)).collect())
}

/// The system that this is built for, as rustc calls it.
fn host() -> Result<String, String> {
    let said =
        Command::new("rustc").arg("-vV").output().map_err(|e| format!("rustc cannot be started: {e}"))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| format!("rustc -vV names no host: {said}"))
}

/// The licences that `deny.toml` allows.
fn allowed(rules: &str) -> Result<Vec<Licensee>, String> {
    let list = rules.split_once("allow = [").and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.ok_or("deny.toml has no list `allow`")?;
    let names = list.split('"').skip(1).step_by(2);
    names.map(|name| Licensee::parse(name).map_err(|e| format!("deny.toml: {e}"))).collect()
}

fn breach(package: &Package, allowed: &[Licensee]) -> Option<String> {
    let name = &package.name;
    if let Some(source) = package.source.as_ref().filter(|source| source.repr != REGISTRY) {
        return Some(format!("{name} comes from {source}, not from crates.io"));
    }
    let by_file = || BY_FILE.iter().find(|(of, _)| *of == name.as_str()).map(|(_, licence)| *licence);
    let Some(licence) = package.license.as_deref().or_else(by_file) else {
        return Some(format!("{name} states no licence; read its file and name it in xtask/src/licences.rs"));
    };
    permitted(licence, allowed).err().map(|problem| format!("{name}: {problem}"))
}

/// Whether an expression can be met by allowed licences alone.
fn permitted(licence: &str, allowed: &[Licensee]) -> Result<(), String> {
    let expression = Expression::parse_mode(licence, ParseMode::LAX).map_err(|e| e.to_string())?;
    let met = expression.evaluate(|wanted| allowed.iter().any(|licensee| licensee.satisfies(wanted)));
    if met { Ok(()) } else { Err(format!("`{licence}` is not among the licences of deny.toml")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_needs_one_allowed_licence_and_a_conjunction_all() {
        let allowed = allowed("[licenses]\nallow = [\n \"MIT\", \"Apache-2.0\",\n]\n").unwrap();
        for (licence, fine) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-3.0-only AND MIT", false),
            ("Apache-2.0 WITH LLVM-exception", false),
            ("no licence", false),
        ] {
            assert_eq!(permitted(licence, &allowed).is_ok(), fine, "{licence}");
        }
    }
}
