//! Rules that no compiler checks.

use std::fs;

use crate::{
    direction, licences, paper,
    workspace::{root, sources_with},
};

/// A file longer than this is split along a concept.
const LONGEST: usize = 400;

/// The lint against what the compiler cannot check. In two pieces, lest this file be found.
const UNCHECKED: &str = concat!("un", "safe_code");

/// Checks every rule and lists every breach.
pub(crate) fn run() -> Result<(), String> {
    let root = root();
    let mut breaches = direction::wrong_arrows()?;
    breaches.extend(licences::breaches(root)?);
    for path in sources_with(root, "rs") {
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(&path).display();
        let lines = text.lines().count();
        if lines > LONGEST {
            breaches.push(format!("{name}: {lines} lines; split it along a concept ({LONGEST} at most)"));
        }
        if text.contains(UNCHECKED) && !path.starts_with(root.join("crates/add-kernels")) {
            breaches.push(format!("{name}: lifts the lint that add-kernels alone may lift"));
        }
        if !text.starts_with("//!") {
            breaches.push(format!("{name}: begins without `//!` saying what it is"));
        }
    }
    breaches.extend(paper::missing(root, &sources_with(root, "rs"))?);
    if breaches.is_empty() {
        println!("tidy");
        return Ok(());
    }
    Err(breaches.join("\n"))
}
