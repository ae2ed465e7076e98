//! A recipe, or a part of it, as RON.

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
