//! `new`: a plugin that compiles and passes its tests, as one file and its `mod` line.

mod families;
#[cfg(test)]
mod generated;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;

use self::families::{FAMILIES, Family};
use crate::workspace::{read, root};

/// Arguments of `new`.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// Family, in kebab case.
    #[arg(value_parser = FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>())]
    family: String,
    /// Name in kebab case, such as min-snr; its name in a recipe is then `MinSnr`.
    name: String,
}

impl New {
    pub(crate) fn run(&self) -> Result<(), String> {
        let family = families::find(&self.family)?;
        let file = write(&root().join("plugins").join(family.folder), family, &Name::parse(&self.name)?)?;
        say!(
            "{}: write the formula, then two values computed by hand and one law as tests; CONTRIBUTING.md goes on",
            file.display()
        );
        Ok(())
    }
}

/// What a plugin is called.
struct Name {
    /// On the command line, and in the names of its figures.
    kebab: String,
    /// Its file, without `.rs`.
    module: String,
    /// In a recipe.
    ron: String,
}

impl Name {
    fn parse(kebab: &str) -> Result<Self, String> {
        let word = |word: &str| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        let valid = kebab.starts_with(|c: char| c.is_ascii_lowercase()) && kebab.split('-').all(word);
        if !valid || syn::parse_str::<syn::Ident>(&kebab.replace('-', "_")).is_err() {
            return Err(format!(
                "expected a name in kebab case that is no keyword of Rust, such as min-snr, got {kebab:?}"
            ));
        }
        Ok(Self {
            kebab: kebab.to_owned(),
            module: kebab.replace('-', "_"),
            ron: kebab.split('-').map(capitalised).collect(),
        })
    }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

/// Writes the plugin into the crate in `folder` and returns its file.
fn write(folder: &Path, family: Family, name: &Name) -> Result<PathBuf, String> {
    let type_name = &name.ron;
    if words(family.skeleton).any(|word| word == type_name) {
        return Err(format!("expected another name: the skeleton uses a type called {type_name}"));
    }
    let file = folder.join("src").join(format!("{}.rs", name.module));
    if file.exists() {
        return Err(format!("{} exists already", file.display()));
    }
    let library = file.with_file_name("lib.rs");
    let text = read(&library)?;
    let text = with_module(&text, &name.module)?;
    let body = family.skeleton.replace("Skeleton", type_name).replace("skeleton", &name.kebab);
    fs::write(&file, body).map_err(|e| format!("{}: {e}", file.display()))?;
    fs::write(&library, text).map_err(|e| format!("{}: {e}", library.display()))?;
    format(&library)?;
    Ok(file)
}

/// The identifiers of a source.
fn words(source: &str) -> impl Iterator<Item = &str> {
    source.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// `lib.rs` with one more `mod` line, before the others: rustfmt sorts them.
fn with_module(text: &str, module: &str) -> Result<String, String> {
    let declares = |line: &&str| line.starts_with("mod ") || line.starts_with("pub mod ");
    let first = text.lines().position(|line| declares(&line));
    let first = first.ok_or("lib.rs has no `mod` line to stand beside")?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.insert(first, format!("mod {module};"));
    Ok(lines.join("\n") + "\n")
}

/// Formats a crate by the rules of the workspace that it lies in.
fn format(library: &Path) -> Result<(), String> {
    let status = Command::new("rustfmt").args(["--edition", "2024"]).arg(library).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("rustfmt cannot format {}", library.display())),
        Err(error) => Err(format!("rustfmt cannot be started: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_module_and_a_type() {
        let name = Name::parse("min-snr-2").unwrap();
        assert_eq!((name.module.as_str(), name.ron.as_str()), ("min_snr_2", "MinSnr2"));
    }

    #[test]
    fn names_that_cannot_be_a_module_are_refused() {
        for wrong in ["", "-", "a-", "a--b", "MinSnr", "min_snr", "2d", "type", "a/b", "ä"] {
            assert!(Name::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_type_that_the_skeleton_uses_itself_is_no_name() {
        let family = families::find("weighting").unwrap();
        let refusal = write(Path::new("nowhere"), family, &Name::parse("entry").unwrap()).unwrap_err();
        assert!(refusal.contains("a type called Entry"), "{refusal}");
    }

    #[test]
    fn an_unknown_family_is_answered_with_those_there_are() {
        let refusal = families::find("weigthing").unwrap_err();
        assert!(refusal.contains("backbone, codec") && refusal.contains("weigthing"), "{refusal}");
    }
}
