//! From a recipe's text to a checked [`Recipe`], and back to text.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use add_plugin::{Dataset, Metric, Plugin, PluginError, Split};
pub use add_recipe::show;
use add_recipe::{Recipe, options};
use add_weights::beside;
use miette::NamedSource;

use crate::{
    error::{CoreError, Problem},
    overlay::{self, Stated},
    overrides, spans, validate,
};

/// Longest line, in bytes, of a recipe that an error shows whole, and how much around the place of a longer one.
const LONGEST_LINE: usize = 1000;
const NEAR: usize = 60;

/// Fields of a recipe that had another name in earlier versions: the old name and today's.
const RENAMED: [(&str, &str); 2] = [("shards", "replicas"), ("rounds", "gradient_accumulation")];

/// A recipe with where it came from.
#[derive(Debug)]
pub struct LoadedRecipe {
    /// What it says.
    pub recipe: Recipe,
    /// Its file, the one at the bottom where it changes another; relative paths begin at this file's folder.
    pub path: PathBuf,
}

impl LoadedRecipe {
    /// A file that the recipe names: beside the recipe, or else from the current folder.
    pub fn resolve(&self, name: &str) -> PathBuf {
        self.beside(Path::new(name))
    }

    /// The same with `--set` assignments, for a recipe that was not read from a file of its own.
    ///
    /// # Errors
    /// When the outcome is not a valid recipe, or is one that cannot be run.
    pub fn with(self, assignments: &[String]) -> Result<Self, CoreError> {
        if assignments.is_empty() {
            return Ok(self);
        }
        let text =
            assignments.iter().try_fold(show(&self.recipe), |text, set| overrides::apply(&text, set))?;
        let recipe = beside(self.folder(), || parse(&text, "the recipe of this model"))?;
        Ok(Self { recipe, path: self.path })
    }

    /// Opens a split of its data, whose relative paths begin at the recipe's folder.
    ///
    /// # Errors
    /// When files are missing or unreadable.
    pub fn data(&self, split: Split) -> Result<Box<dyn Dataset>, PluginError> {
        self.recipe.data.open_beside(split, self.folder())
    }

    /// The folder of its file, where relative paths begin; empty for the current folder.
    pub fn folder(&self) -> &Path {
        folder_of(&self.path)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}

/// Reads the recipe at `path`, and those it is built on, with `--set` assignments applied first.
///
/// # Errors
/// When the file cannot be read, is not a valid recipe, or is one that cannot be run.
pub fn read(path: &Path, assignments: &[String]) -> Result<LoadedRecipe, CoreError> {
    let Stated { text, path, name } = overlay::read(path)?;
    let text = assignments.iter().try_fold(text, |text, set| overrides::apply(&text, set))?;
    let recipe = beside(folder_of(&path), || parse(&text, &name))?;
    Ok(LoadedRecipe { recipe, path })
}

/// Reads a whole recipe from `text`, as if it stood in the file at `path`.
///
/// # Errors
/// As [`read`].
pub fn read_text(text: &str, path: &Path, assignments: &[String]) -> Result<LoadedRecipe, CoreError> {
    let text = assignments.iter().try_fold(text.to_owned(), |text, set| overrides::apply(&text, set))?;
    let recipe = beside(folder_of(path), || parse(&text, &path.display().to_string()))?;
    Ok(LoadedRecipe { recipe, path: path.to_path_buf() })
}

/// Reads a recipe from `text`; `name` stands for its file in errors.
///
/// # Errors
/// When the text is not a valid recipe, or is one that cannot be run.
pub fn parse(text: &str, name: &str) -> Result<Recipe, CoreError> {
    let recipe: Recipe = options().from_str(text).map_err(|error| syntax_error(text, name, &error))?;
    let found = validate::check(&recipe).into_iter();
    let problem = |(path, message): (String, String)| {
        problem(text, name, nearest(text, &path), format!("{path}: {message}"))
    };
    let problems: Vec<Problem> = found.map(problem).collect();
    if problems.is_empty() { Ok(recipe) } else { Err(CoreError::Invalid { path: name.to_owned(), problems }) }
}

/// What a reader says of a text that it cannot read, with its place.
pub(crate) fn syntax_error(text: &str, name: &str, error: &ron::error::SpannedError) -> CoreError {
    let span = offset(text, error.span.start)..offset(text, error.span.end);
    CoreError::Syntax(Box::new(problem(text, name, span, message(&error.code))))
}

fn problem(text: &str, name: &str, span: Range<usize>, message: String) -> Problem {
    let place = place(text, name, &span);
    let (shown, span) = shown(text, span);
    Problem { place, message, text: NamedSource::new(name, shown), span: span.into() }
}

/// What is wrong with a recipe's text. A field's old name is answered with today's.
fn message(error: &ron::Error) -> String {
    if let ron::Error::NoSuchStructField { found, outer: Some(outer), .. } = error
        && outer == "Recipe"
        && let Some((old, new)) = RENAMED.iter().find(|(old, _)| old == found)
    {
        return format!("the field `{old}` is now called `{new}`; write `{new}` in its place");
    }
    error.to_string()
}

/// Reads a list of metrics, such as `[Fid(), ClipScore()]`, as a recipe would state it; `name` stands for its place in
/// errors.
///
/// # Errors
/// When the text is no such list.
pub fn metrics(text: &str, name: &str) -> Result<Vec<Plugin<dyn Metric>>, CoreError> {
    options().from_str(text).map_err(|error| CoreError::Request(format!("{name}: {}", error.code)))
}

/// The place of the field at `path`, or of its closest parent that the text states.
fn nearest(text: &str, path: &str) -> Range<usize> {
    let mut path = path;
    loop {
        if let Some(range) = spans::find(text, path) {
            return range;
        }
        match path.rsplit_once('.') {
            Some((parent, _)) => path = parent,
            None => return 0..text.chars().next().map_or(0, char::len_utf8),
        }
    }
}

/// Byte offset of a 1-based line and column.
fn offset(text: &str, position: ron::error::Position) -> usize {
    let before: usize = text.split_inclusive('\n').take(position.line.saturating_sub(1)).map(str::len).sum();
    let line = text[before..].split('\n').next().unwrap_or_default();
    let column = line.char_indices().nth(position.col.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
    (before + column).min(text.len())
}

/// The text that an error shows, and its place in that: the whole, or what is near where a line is so long that it would
/// flood a terminal. (The drawing of errors fails beyond 65,535 columns.)
fn shown(text: &str, span: Range<usize>) -> (String, Range<usize>) {
    if text.lines().all(|line| line.len() <= LONGEST_LINE) {
        return (text.to_owned(), span);
    }
    let start = text.floor_char_boundary(span.start.saturating_sub(NEAR));
    let end = text.ceil_char_boundary((span.start + NEAR).min(text.len()));
    let near = start.max(text[..span.start].rfind('\n').map_or(0, |at| at + 1));
    let end = text[span.start..end].find('\n').map_or(end, |at| span.start + at);
    (text[near..end].to_owned(), span.start - near..span.end.min(end) - near)
}

/// `file:line:column` of the start of `span`.
fn place(text: &str, name: &str, span: &Range<usize>) -> String {
    let before = &text[..span.start];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{name}:{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_in_an_endless_line_is_shown_with_its_surroundings() {
        let text = format!("{}x{}", "ü".repeat(5000), "y".repeat(5000));
        let (near, span) = shown(&text, 10_000..10_001);
        assert!(near.len() < 200 && &near[span] == "x", "{near}");
        assert_eq!(shown("(a: 1)\n", 1..2), ("(a: 1)\n".to_owned(), 1..2));
        assert_eq!(shown(&text, text.len()..text.len()).1.len(), 0);
    }
}
