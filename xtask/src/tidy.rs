//! Rules that no compiler checks.

use std::{fs, path::Path};

use crate::{
    direction, figures, licences, orphans, paper, prose,
    workspace::{read, root, sources_with},
};

/// A file longer than this is split along a concept.
const LONGEST: usize = 400;

/// The lint against what the compiler cannot check. In two pieces, lest this file be found.
const UNCHECKED: &str = concat!("un", "safe_code");

/// Who may lift it: the kernels, and files mapped into memory.
const MAY_LIFT: [&str; 2] = ["crates/add-kernels", "crates/add-files/src/mapped.rs"];

/// Checks every rule and lists every breach.
pub(crate) fn run() -> Result<(), String> {
    let root = root();
    let mut breaches = direction::wrong_arrows()?;
    breaches.extend(licences::breaches(root)?);
    let methods = methods(root);
    for path in sources_with(root, "rs") {
        let text = read(&path)?;
        let name = path.strip_prefix(root).unwrap_or(&path).display();
        let lines = text.lines().count();
        if lines > LONGEST {
            breaches.push(format!("{name}: {lines} lines; split it along a concept ({LONGEST} at most)"));
        }
        if text.contains(UNCHECKED) && !MAY_LIFT.iter().any(|place| path.starts_with(root.join(place))) {
            breaches.push(format!("{name}: lifts a lint that only {} may lift", MAY_LIFT.join(" and ")));
        }
        breaches.extend(methods.iter().flat_map(|method| named(method, &path, root, &text)));
        breaches.extend(prose::breaches(&text).into_iter().map(|breach| format!("{name}:{breach}")));
        if !text.starts_with("//!") {
            breaches.push(format!("{name}: begins without `//!` saying what it is"));
        }
    }
    breaches.extend(figures::stale()?);
    for path in orphans::orphans(&sources_with(root, "rs"))? {
        let name = path.strip_prefix(root).unwrap_or(&path).display();
        breaches.push(format!("{name}: no module names it, so nothing compiles it"));
    }
    breaches.extend(paper::missing(root, &sources_with(root, "rs"))?);
    if breaches.is_empty() {
        say!("tidy");
        return Ok(());
    }
    Err(breaches.join("\n"))
}

/// The names of the training methods that this workspace registers.
fn methods(root: &Path) -> Vec<String> {
    let texts =
        sources_with(root, "rs").into_iter().filter(|path| path.starts_with(root.join("plugins/methods")));
    let texts = texts.filter_map(|path| fs::read_to_string(path).ok());
    let names = |text: String| -> Vec<String> {
        let entries = text.split("MethodEntry::of::<").skip(1);
        entries.filter_map(|rest| Some(rest.split_once('>')?.0.to_owned())).collect()
    };
    texts.flat_map(names).collect()
}

/// Folders whose code may name a training method: its own, and those that hold it to references.
const MAY_NAME_METHODS: [&str; 5] =
    ["plugins/methods", "plugins/all", "crates/add/examples", "crates/add-parity", "tests"];

/// The lines of code that name a training method where everything must follow from the family's trait.
fn named(method: &str, path: &Path, root: &Path, text: &str) -> Vec<String> {
    if MAY_NAME_METHODS.iter().any(|folder| path.starts_with(root.join(folder))) {
        return Vec::new();
    }
    let tests = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let code = text[..tests].lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let (quoted, variant, module) =
        (format!("\"{method}\""), format!("Objective::{method}"), format!("methods::{method}"));
    // Plugins of other families may have the same name.
    let registers = |line: &str| line.contains("Entry::");
    let names = |line: &str| {
        !registers(line) && (line.contains(&quoted) || line.contains(&variant) || line.contains(&module))
    };
    let name = path.strip_prefix(root).unwrap_or(path).display();
    code.filter(|(_, line)| names(line))
        .map(|(at, _)| {
            format!("{name}:{}: names the method {method}; ask the trait `Method` instead", at + 1)
        })
        .collect()
}
