//! Many files from a few texts: `{00000..00012}`, `*.tar`, or a whole folder.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use glob::{MatchOptions, Pattern};

use crate::{Listing, Place, Store, StoreError, braces::expand, place::At};

/// As in a shell, `*` stays inside of a folder; `**` goes below.
const AS_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Stores by their place, each opened once.
#[derive(Debug, Default)]
pub struct Stores(BTreeMap<Place, Arc<Store>>);

impl Stores {
    /// The store at a place.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn at(&mut self, place: &Place) -> Result<Arc<Store>, StoreError> {
        if let Some(store) = self.0.get(place) {
            return Ok(store.clone());
        }
        let store = Arc::new(Store::open(place)?);
        self.0.insert(place.clone(), store.clone());
        Ok(store)
    }

    /// The files that `text` means, in order: one, those of `{…}`, those that match `*`, `?` and `[…]`, or those of a
    /// folder that end in one of `suffixes` (`.tar`). A relative path begins at the folder `base`.
    ///
    /// # Errors
    /// When the text names no place or nothing is found there.
    pub fn files(
        &mut self,
        text: &str,
        base: &Path,
        suffixes: &[&str],
    ) -> Result<Vec<(Arc<Store>, String)>, StoreError> {
        let mut files = Vec::new();
        for name in expand(text).map_err(|problem| StoreError::Place { text: text.to_owned(), problem })? {
            files.extend(self.expanded(&name, base, suffixes)?);
        }
        Ok(files)
    }

    fn expanded(
        &mut self,
        text: &str,
        base: &Path,
        suffixes: &[&str],
    ) -> Result<Vec<(Arc<Store>, String)>, StoreError> {
        let ends = |name: &str| suffixes.iter().any(|suffix| name.to_lowercase().ends_with(suffix));
        let found = |store: &Arc<Store>, listing: Listing, wanted: &dyn Fn(&str) -> bool, expected: &str| {
            let (names, others): (Vec<String>, Vec<String>) =
                listing.names.into_iter().partition(|name| wanted(name));
            if !names.is_empty() {
                return Ok(names.into_iter().map(|name| (store.clone(), name)).collect());
            }
            let hidden = if listing.passed_over.is_empty() {
                String::new()
            } else {
                format!("; passed over: {}", listing.passed_over)
            };
            let others = others.len();
            let problem = format!("expected {expected}, found none among {others} files{hidden}");
            Err(StoreError::Failed { place: store.place().to_string(), problem })
        };
        if let Some((folder, pattern)) = with_pattern(text, base) {
            let refused = |problem: String| StoreError::Place { text: text.to_owned(), problem };
            let pattern = Pattern::new(pattern).map_err(|error| refused(error.to_string()))?;
            let store = self.at(&Place::parse(folder)?.beside(base)?)?;
            let matches = |name: &str| pattern.matches_with(name, AS_A_SHELL);
            return found(&store, store.list()?, &matches, &format!("files that match `{pattern}`"));
        }
        let place = Place::parse(text)?.beside(base)?;
        let is_folder = match place.at() {
            At::Path(path) => path.is_dir(),
            At::S3(_) | At::Http(_) => !ends(text),
        };
        if is_folder {
            let store = self.at(&place)?;
            let expected = format!("files that end in {}", suffixes.join(", "));
            return found(&store, store.list()?, &ends, &expected);
        }
        let (folder, name) = place.split()?;
        Ok(vec![(self.at(&folder)?, name)])
    }
}

/// The folder before the first part of a path that is a pattern, and the pattern. A file of this machine that has such a
/// name is meant itself.
fn with_pattern<'a>(text: &'a str, base: &Path) -> Option<(&'a str, &'a str)> {
    let at = text.find(['*', '?', '['])?;
    if base.join(text).exists() {
        return None;
    }
    let slash = text[..at].rfind('/');
    Some(match slash {
        Some(0) => ("/", &text[1..]),
        Some(slash) => (&text[..slash], &text[slash + 1..]),
        None => (".", text),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn named(text: &str, base: &Path) -> Result<Vec<String>, String> {
        let files = Stores::default().files(text, base, &[".tar", ".tgz"]).map_err(|e| e.to_string())?;
        Ok(files.into_iter().map(|(store, name)| format!("{}|{name}", store.place())).collect())
    }

    #[test]
    fn patterns_folders_and_braces_find_their_files() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.tar", "a.TAR", "c.txt", ".d.tar", "sub/e.tgz", "odd[1].tar"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("one")).expect("made");
            fs::write(path, "").expect("written");
        }
        let base = folder.path();
        let here = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| format!("{}|{name}", base.display())).collect()
        };
        assert_eq!(named("*.tar", base), Ok(here(&["b.tar", "odd[1].tar"])));
        assert_eq!(named("?.t*", base), Ok(here(&["b.tar", "c.txt"])));
        assert_eq!(named("**/*.tgz", base), Ok(here(&["sub/e.tgz"])));
        let all = here(&["a.TAR", "b.tar", "odd[1].tar", "sub/e.tgz"]);
        assert_eq!(named(base.to_str().expect("UTF-8"), Path::new("")), Ok(all.clone()));
        assert_eq!(named(".", base), Ok(all));
        for (text, count) in [("{b,c}.tar", 2), ("odd[1].tar", 1), ("{sub,.}/*.t*", 4)] {
            assert_eq!(named(text, base).map(|names| names.len()), Ok(count), "{text}");
        }
    }

    #[test]
    fn what_finds_nothing_says_what_it_looked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.txt"), "").expect("written");
        fs::write(folder.path().join(".b.tar"), "").expect("written");
        for (text, part) in [
            ("*.tar", "files that match `*.tar`, found none among 1 files; passed over: 1 hidden"),
            (".", "files that end in .tar, .tgz, found none"),
            ("no/*.tar", "expected a folder"),
            ("[.tar", "names no place"),
        ] {
            let error = named(text, folder.path()).expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }
}
