//! A recipe's text without the folders of the machine that it was used on.

use std::borrow::Cow;

use crate::map_texts;

/// Fields and variants of a recipe whose texts are places.
const PLACES: [&str; 13] = [
    "weights",
    "text_weights",
    "loras",
    "path",
    "paths",
    "shards",
    "list",
    "captions",
    "splits",
    "File",
    "Diffusers",
    "Ldm",
    "Recipe",
];

/// RON without the folders of this machine, for files that leave it: of every local place the last part of its path stays. A
/// place on the hub or on a server stays as it is.
pub fn without_places(ron: &str) -> String {
    let mut field = Field::default();
    map_texts(ron, |between, text| {
        field.pass(between);
        let absolute =
            text.starts_with(['/', '~']) || text.get(1..3).is_some_and(|at| [":\\", ":/"].contains(&at));
        let local = (absolute || PLACES.contains(&field.name.as_str())) && !text.contains("://");
        Cow::Borrowed(if local { last_part(text) } else { text })
    })
}

/// The field or variant that a literal stands in.
#[derive(Debug, Default)]
struct Field {
    name: String,
    in_list: bool,
}

impl Field {
    /// Goes on over what stands between two literals.
    fn pass(&mut self, between: &str) {
        let next = between.trim() == ",";
        if next && self.in_list {
            return;
        }
        self.in_list = between.trim_end().ends_with('[');
        let before = between.trim_end_matches(|c: char| matches!(c, '(' | '[' | ':') || c.is_whitespace());
        let name = before.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next();
        name.unwrap_or_default().clone_into(&mut self.name);
    }
}

fn last_part(place: &str) -> &str {
    place.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or(place)
}

#[cfg(test)]
mod tests {
    use super::without_places;

    #[test]
    fn the_folders_of_this_machine_are_left_out() {
        for (ron, expected) in [
            (r#"ClipL(weights:"/home/me/sd/text_encoder")"#, r#"ClipL(weights:"text_encoder")"#),
            (
                r#"KlVae(weights:"sd/vae/",scaling_factor:0.18215)"#,
                r#"KlVae(weights:"vae",scaling_factor:0.18215)"#,
            ),
            (r#"ClipL(weights:"hf://a/b/text_encoder")"#, r#"ClipL(weights:"hf://a/b/text_encoder")"#),
            (
                r#"(weights: Diffusers("../sd"), loras: ["l/x.safetensors:0.5", "l/y"], name: "a/b")"#,
                r#"(weights: Diffusers("sd"), loras: ["x.safetensors:0.5", "y"], name: "a/b")"#,
            ),
            (r#"Pictures(path: "C:\\me\\pictures", size: 64)"#, r#"Pictures(path: "pictures", size: 64)"#),
            (r#"(prompts: ["a \"cat/dog\"", "b"])"#, r#"(prompts: ["a \"cat/dog\"", "b"])"#),
            ("Mini(size: 3)", "Mini(size: 3)"),
            (r#"cut ""#, r#"cut ""#),
        ] {
            assert_eq!(without_places(ron), expected, "{ron}");
        }
    }
}
