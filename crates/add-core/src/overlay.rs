//! A recipe that is another one with some fields changed:
//!
//! ```text
//! (
//!     base: "../add-m.ron",
//!     set: {
//!         "name": "1f-two-steps",
//!         "objective.teacher.steps": 2,
//!     },
//! )
//! ```
//!
//! Each entry of `set` is what `--set path=value` is on the command line, in the order in which they stand. The base may be
//! such a recipe too. Relative paths begin at the folder of the recipe at the bottom, whose text they become part of.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use add_recipe::options;
use ron::value::RawValue;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};

use crate::{error::CoreError, overrides, read::syntax_error, spans};

/// Largest recipe, in bytes. The shipped ones have less than 5 kB.
const MAX_RECIPE: u64 = 1 << 20;

/// Most recipes on top of each other; the shipped ones are three. More are a recipe that is its own base.
const MOST: usize = 8;

/// A recipe's text with the fields of those on top of it.
#[derive(Debug)]
pub(crate) struct Stated {
    /// The text.
    pub(crate) text: String,
    /// The file at the bottom, where relative paths begin.
    pub(crate) path: PathBuf,
    /// What errors call it.
    pub(crate) name: String,
}

/// Reads the recipe at `path`, and what it is built on.
pub(crate) fn read(path: &Path) -> Result<Stated, CoreError> {
    read_below(path, MOST)
}

fn read_below(path: &Path, most: usize) -> Result<Stated, CoreError> {
    let text = add_files::read_text(path, MAX_RECIPE)
        .map_err(|source| CoreError::Unreadable { path: path.to_path_buf(), source })?;
    let name = path.display().to_string();
    if spans::find(&text, "base").is_none() {
        return Ok(Stated { text, path: path.to_path_buf(), name });
    }
    let Overlay { base, set } =
        options().from_str(&text).map_err(|error| syntax_error(&text, &name, &error))?;
    let base = path.parent().unwrap_or_else(|| Path::new("")).join(base);
    if most == 1 {
        let problem =
            format!("{name}: more than {MOST} recipes stand on top of each other; is one its own `base`?");
        return Err(CoreError::Request(problem));
    }
    let below = read_below(&base, most - 1)?;
    let assign = |text: String, (path, value): (String, String)| {
        overrides::assign(&text, &path, &value)
            .map_err(|error| CoreError::Request(format!("{name}: {error}, in {}", base.display())))
    };
    let text = set.0.into_iter().try_fold(below.text, assign)?;
    Ok(Stated { text, path: below.path, name: format!("{name} on {}", below.name) })
}

/// A recipe that says what it changes in another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Overlay {
    /// The other recipe, relative to this one's folder.
    base: String,
    /// What is changed.
    set: Assignments,
}

/// Paths of fields and their values, in the order in which they stand.
struct Assignments(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Assignments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Pairs)
    }
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Assignments;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fields with their values, such as { \"objective.teacher.steps\": 2 }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Assignments, A::Error> {
        let (mut pairs, mut seen) = (Vec::new(), BTreeSet::new());
        while let Some((path, value)) = map.next_entry::<String, Box<RawValue>>()? {
            if !seen.insert(path.clone()) {
                return Err(de::Error::custom(format!("the field `{path}` is set twice")));
            }
            pairs.push((path, value.get_ron().trim().to_owned()));
        }
        Ok(Assignments(pairs))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        folder
    }

    #[test]
    fn fields_are_set_from_the_bottom_up() {
        let folder = folder(&[
            ("base.ron", "(a: 1, b: (c: 2, d: \"x\"))"),
            (
                "rows/one.ron",
                "// (base)\n(base: \"../base.ron\", set: { \"a\": Name(e: 5), \"b.d\": \"y, z\" })",
            ),
            ("rows/two.ron", "(base: \"one.ron\", set: { \"b.c\": [1, 2], /* last */ \"b.f\": 7 })"),
        ]);
        let stated = read(&folder.path().join("rows/two.ron")).expect("three recipes");
        assert_eq!(stated.text, "(a: Name(e: 5), b: (f: 7, c: [1, 2], d: \"y, z\"))");
        assert_eq!(stated.path.file_name(), Some("base.ron".as_ref()));
        assert!(stated.name.contains("two.ron on ") && stated.name.contains("base.ron"), "{}", stated.name);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_file() {
        for (text, said) in [
            ("(base: \"none.ron\", set: {})", "none.ron"),
            ("(base: \"base.ron\", set: { \"x.y\": 1 })", "the recipe states no `x`"),
            ("(base: \"base.ron\", sets: {})", "wrong.ron:1:20"),
            ("(base: \"base.ron\", set: [])", "Expected opening `{`"),
            ("(base: \"base.ron\", set: { \"a\": 2, \"a\": 3 })", "`a` is set twice"),
            ("(base: \"wrong.ron\", set: {})", "its own `base`"),
        ] {
            let folder = folder(&[("base.ron", "(a: 1)"), ("wrong.ron", text)]);
            let error = read(&folder.path().join("wrong.ron")).expect_err(text);
            let message = format!("{error} {error:?}");
            assert!(message.contains(said), "{text}: {message}");
        }
    }
}
