//! A recipe, or a part of it, as RON.

use std::borrow::Cow;

use ron::{extensions::Extensions, ser::PrettyConfig};
use serde::Serialize;

use crate::Recipe;

/// How recipes are written and read.
pub fn options() -> ron::Options {
    ron::Options::default()
        .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES)
        .with_default_extension(Extensions::IMPLICIT_SOME)
}

/// The recipe with every default spelt out; reading it gives the same recipe again.
pub fn show(recipe: &Recipe) -> String {
    let pretty = PrettyConfig::new().indentor("    ").compact_arrays(true);
    options().to_string_pretty(recipe, pretty).expect(SAYABLE) + "\n"
}

/// Any part of a recipe on one line.
pub fn one_line<T: Serialize>(value: &T) -> String {
    options().to_string(value).expect(SAYABLE)
}

const SAYABLE: &str = "a recipe holds nothing that RON cannot say";

/// RON in which every text in quotes is what `each` makes of it, given what stands between it and the text before. Escapes stay
/// as they are written; a text without its closing quote goes on to the end.
pub fn map_texts<'a>(ron: &'a str, mut each: impl FnMut(&'a str, &'a str) -> Cow<'a, str>) -> String {
    let mut out = String::with_capacity(ron.len());
    let mut rest = ron;
    while let Some((between, after)) = rest.split_once('"') {
        let mut escaped = false;
        let end = after.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let (text, after) = after.split_at(end.unwrap_or(after.len()));
        out += between;
        out.push('"');
        out += &each(between, text);
        rest = after;
        if let Some(after) = rest.strip_prefix('"') {
            out.push('"');
            rest = after;
        }
    }
    out + rest
}
